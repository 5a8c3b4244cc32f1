// Plugins in the page: the bytes that the command line writes with them, and nothing but a message from
// those that mean ill.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { browse, convert, open, pick, plug, serve, set } from "./browser.mjs";
import { exported, folder, gmat, hashes, oneLayer, oracle, store } from "./cli.mjs";
import { COPY, DESCRIPTOR, module } from "./hostile.mjs";
import { same, shared } from "./shared.mjs";

const { EXAMPLES } = process.env;
const SEARCH = path.join(EXAMPLES, "q4k_search.wasm"), HALF_ROWS = path.join(EXAMPLES, "half_rows.wasm");
const DIR = ["--plugin-dir", EXAMPLES];
const { server, browser, page } = await shared();

/** Removes all plugins. */
async function unplug(on) {
  for (let left = await on.locator("#plugin-list button").count(); left > 0; left -= 1) {
    await on.locator("#plugin-list button").first().click();
    await on.waitForFunction((left) => document.querySelectorAll("#plugin-list li").length < left, left);
  }
  await on.waitForFunction(() => !document.getElementById("pick-files").disabled);
}

const problem = (on, id = "plugin-problem") => on.innerText(`#${id} .bad`);
const names = (on, list) => on.$$eval(`#${list} option`, (options) => options.map(({ value }) => value));

test("a type of a plugin: the bytes of the command line, with the plugin's name and hash", async (t) => {
  const model = oneLayer(t);
  const from = store(t, model);
  const expected = await exported(t, from, "m.gguf", "--type", "q4_k@search", ...DIR);
  await plug(page, SEARCH);
  assert.match(await page.innerText("#plugin-list"), /search 0\.1\.0\s+q4_k@search/);
  await pick(page, model);
  await set(page, { output: "gguf", type: "q4_k@search", "file-name": "m.gguf" });
  await same(page, expected);

  const single = await open(browser.context, `${server.url}?threads=1`);
  await plug(single, SEARCH);
  await pick(single, model);
  await set(single, { type: "q4_k@search", "file-name": "m.gguf" });
  await same(single, expected);
  await single.close();

  // As the base type of a recipe, and with parameters, which a config gives.
  const config = path.join(folder(t), "config.json");
  const type = { type: "q4_k_s@search", params: { rounds: 2 } };
  writeFileSync(config, JSON.stringify({ quantization: { default_type: type } }));
  await page.setInputFiles("#config-input", config);
  await page.waitForSelector("#config-state:not([hidden])");
  await set(page, { "file-name": "m.gguf" });
  await same(page, await exported(t, from, "m.gguf", "--config", config, ...DIR));
  await unplug(page);
  assert.ok(!(await names(page, "type")).includes("q4_k@search"));
});

test("a block format of a plugin, and a type of its own", async (t) => {
  const model = oracle("llama3");
  const from = store(t, model, "--block-format", "Rows12@half-rows", ...DIR);
  await plug(page, HALF_ROWS);
  await pick(page, model);
  await set(page, { output: "store", block: "Rows12@half-rows" });
  await same(page, await hashes(from, "model.gmat/"), "store.tar");
  await set(page, { output: "gguf", type: "fixed8@half-rows", "file-name": "m.gguf" });
  assert.match(await problem(page, "plan-problem"), /4242[^]*allow types that only runtimes of your own load/);
  await set(page, { "custom-types": true });
  const own = ["--type", "fixed8@half-rows", "--allow-custom-types", ...DIR];
  await same(page, await exported(t, from, "m.gguf", ...own));

  // A store says what it needs.
  await unplug(page);
  await pick(page, from);
  assert.match(await problem(page, "plan-problem"), /plugin half-rows[^]*BLAKE3[^]*→ drop its \.wasm file onto this page/);
  await plug(page, HALF_ROWS);
  await set(page, { output: "gguf", type: "q5_0", "file-name": "m.gguf" });
  await same(page, await exported(t, from, "m.gguf", "--type", "q5_0", ...DIR));
  await unplug(page);
});

test("a plugin that is dropped with a model, or lies beside it", async (t) => {
  await page.evaluate((bytes) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "q4k_search.wasm"));
    document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
  }, [...readFileSync(SEARCH)]);
  await page.waitForSelector("#plugin-list li");
  assert.ok((await names(page, "type")).includes("q4_k@search"));
  await unplug(page);
  await page.setInputFiles("#files-input", [SEARCH, HALF_ROWS]);
  await page.waitForFunction(() => document.querySelectorAll("#plugin-list li").length === 2);
  // The same again changes nothing.
  await plug(page, SEARCH);
  assert.equal(await page.$("#plugin-problem .bad"), null);
  assert.equal(await page.locator("#plugin-list li").count(), 2);
  await unplug(page);
});

test("what is no plugin, or lies, is refused when it is added", async () => {
  const descriptor = (change) => JSON.parse(change(JSON.stringify(DESCRIPTOR)));
  const lies = (from, to) => module(COPY, { descriptor: descriptor((text) => text.replace(from, to)) });
  const relaxed = "(func (result v128) (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0)))";
  const change = (from, to) => module(COPY, { change: (text) => text.replace(from, to) });
  const good = await module(COPY);
  for (const [wasm, why] of [
    [Buffer.from("no module at all"), /not a wasm module/],
    [good.subarray(0, good.length - 3), /cut off/],
    [good.subarray(0, 8), /no section gmat:plugin/],
    [await change("(module", '(module (import "env" "now" (func))'), /imports now from env; plugins import nothing/],
    [await lies("[1,4]", "[1,2]"), /1 weights in 2 bytes/],
    [await lies("f32@bad", "f32"), /ends in @bad/],
    [await lies('"abi":1', '"abi":9'), /version 9 of the plugin interface/],
    [await change("gmat_error", "gmat_eror"), /does not export gmat_error with 2 arguments/],
    [await change("(param i32 i32) (result i32)", "(param i32 f32) (result i32)"), /does not export gmat_error with 2/],
    [await change('(export "memory")', '(export "mem")'), /does not export its memory/],
    [await module(COPY, { more: relaxed }), /relaxed/i],
    [await module(COPY, { more: "(func (drop (i32.atomic.load (i32.const 0))))" }), /threads/],
    [await module(COPY, { more: "(table 100000000 funcref)" }), /100000000 elements/],
    [Buffer.alloc(9_000_000), /9000000 bytes; at most/],
  ]) {
    await plug(page, { name: "bad.wasm", mimeType: "", buffer: wasm });
    assert.match(await problem(page), why);
    assert.match(await problem(page), /plugin bad\.wasm/);
  }
  assert.equal(await page.isVisible("#plugins"), false);
  // A name that is taken.
  await plug(page, { name: "good.wasm", mimeType: "", buffer: good });
  await plug(page, { name: "other.wasm", mimeType: "", buffer: await module(`(drop (i32.const 1)) ${COPY}`) });
  assert.match(await problem(page), /two plugins are called bad: good\.wasm and other\.wasm/);
  await unplug(page);
});

/** Converts with a plugin; answers what the page says. */
async function tried(on, wasm) {
  await plug(on, { name: "bad.wasm", mimeType: "", buffer: wasm });
  await pick(on, oracle("llama3"));
  await set(on, { output: "gguf", type: "f32@bad", "file-name": "m.gguf" });
  const said = await convert(on);
  await unplug(on);
  return said;
}

test("plugins that fail are named, with tensor and rows", async (t) => {
  const deep = `(call $quantize (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
    (local.get 5) (local.get 6)) (i32.const 1) (i32.add)`;
  const bomb = `(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) ${COPY}`;
  const stores = (bits) => `${COPY} (i32.store offset=64 (local.get $dst) (i32.const ${bits}))`;
  for (const [quantize, why] of [
    ["(unreachable)", /it gave up/],
    ["(i32.div_u (i32.const 1) (i32.const 0))", /in gmat_quantize[^]*it failed: .*by zero|it failed: .*by zero[^]*in gmat_quantize/],
    [deep, /calls itself too deeply/],
    [bomb, /memory has grown to \d+ bytes; at most \d+/],
    ["(i32.const 7)", /answers with status 7/],
    ["(i32.const -1)", /gmat_quantize failed: why!/],
    [stores("0x7fc00000"), /read back as NaN/],
    ["(i32.store (i32.add (local.get $dst) (local.get $len)) (i32.const 1)) (i32.const 0)", /wrote behind its buffer/],
  ]) {
    const said = await tried(page, await module(quantize));
    assert.match(said, why);
    for (const part of [/plugin bad \(bad\.wasm\)/, /tensor /, /rows /]) assert.match(said, part);
  }
  const two = (text) => text.replace('gmat_abi") (result i32) (i32.const 1)', 'gmat_abi") (result i32) (i32.const 2)');
  assert.match(await tried(page, await module(COPY, { change: two })), /gmat_abi answers 2/);
  assert.equal(await tried(page, await module(COPY)), undefined);
  await pick(page, oracle("llama3"));
  await set(page, { type: "q8_0", "file-name": "m.gguf" });
  const from = store(t, oracle("llama3"));
  await same(page, await exported(t, from, "m.gguf", "--type", "q8_0"));
});

/** A plugin that does not end is stopped, and the page goes on. */
async function stopped(t, on) {
  const said = await tried(on, await module("(loop $again (br $again)) (unreachable)"));
  assert.match(said, /plugin bad \(bad\.wasm\)/);
  assert.match(said, /stopped after \d+ seconds in one call: it does not end/);
  const files = await on.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(`gmat-${document.documentElement.dataset.tab}`);
    return Array.fromAsync(folder.keys());
  });
  assert.deepEqual(files, ["store.tar"]);
  await pick(on, oracle("llama3"));
  await set(on, { type: "q8_0", "file-name": "m.gguf" });
  const from = store(t, oracle("llama3"));
  await same(on, await exported(t, from, "m.gguf", "--type", "q8_0"));
}

test("a plugin that does not end", async (t) => {
  await stopped(t, page);
  // So is one that does not even begin.
  const more = "(func $start (loop $again (br $again))) (start $start)";
  assert.match(await tried(page, await module(COPY, { more })), /stopped after 11 seconds[^]*plugin bad/);
});

test("plugins where the page is not isolated, on one thread", async (t) => {
  const plain = await serve({ plain: true });
  const other = await browse({ serviceWorkers: "block" });
  t.after(async () => {
    await other.close();
    plain.close();
  });
  const on = await open(other.context, plain.url);
  assert.equal(await on.evaluate(() => crossOriginIsolated), false);
  const model = oneLayer(t);
  await plug(on, SEARCH);
  await pick(on, model);
  await set(on, { type: "q4_k@search", "file-name": "m.gguf" });
  await same(on, await exported(t, store(t, model), "m.gguf", "--type", "q4_k@search", ...DIR));
  await unplug(on);
  await stopped(t, on);
});

test("the command line agrees on who brings what", () => {
  const listed = JSON.parse(gmat(["formats", "--json", ...DIR], EXAMPLES));
  assert.ok(listed.quantization_types.some(({ name }) => name === "q4_k@search"));
});
