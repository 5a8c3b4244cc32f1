// The page writes the bytes that the command line writes.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { convert, made, open, pick, set } from "./browser.mjs";
import { exported, folder, formats, hashes, oneLayer, oracle, ROOT, store, TRAINED } from "./cli.mjs";
import { same, shared } from "./shared.mjs";

const { block_formats: blocks, quantization_types: types, recipes } = formats();
const { server, browser, page } = await shared();

test("stores of the trained model, in every block format", async (t) => {
  await pick(page, TRAINED);
  for (const { name } of blocks) {
    await set(page, { output: "store", block: name });
    const expected = await hashes(store(t, TRAINED, "--block-format", name), "model.gmat/");
    await same(page, expected, "store.tar");
  }
});

test("GGUF of the trained model: types, recipes, recommended types, splits, configs", async (t) => {
  const from = store(t, TRAINED);
  await pick(page, TRAINED);
  await set(page, { output: "gguf", "file-name": "m.gguf" });
  for (const type of ["q4_k_m", "q8_0", "iq4_xs", "f16"]) {
    await set(page, { type });
    await same(page, await exported(t, from, "m.gguf", "--type", type));
  }
  await set(page, { type: "recommended" });
  await same(page, await exported(t, from, "m.gguf"));
  await set(page, { type: "q2_k", scales: "standard", shard: "2 MB" });
  const args = ["--type", "q2_k", "--scale-optimization", "standard", "--shard-size", "2MB"];
  const split = await exported(t, from, "m.gguf", ...args);
  assert.ok(Object.keys(split).length > 1);
  await same(page, split);
  const config = path.join(ROOT, "example/tiny_llm/export/export-premium.json");
  await page.setInputFiles("#config-input", config);
  await page.waitForSelector("#config-state:not([hidden])");
  await set(page, { "file-name": "m.gguf" });
  await same(page, await exported(t, from, "m.gguf", "--config", config));
});

test("types that are changed in the table are in the config that is saved", async (t) => {
  const from = store(t, TRAINED);
  await pick(page, TRAINED);
  await set(page, { output: "gguf", type: "q4_k_m", "file-name": "m.gguf" });
  await page.click("#tensors > summary");
  await page.fill("#filter", "blk.1 ffn_down");
  await page.selectOption("#table select", "q8_0");
  await page.waitForSelector("#table tr.edited");
  await page.click("#tensors > summary");
  assert.equal(await convert(page), undefined);
  const saved = page.waitForEvent("download");
  await page.click("#save-config");
  const file = await (await saved).path();
  assert.deepEqual(await made(page), await exported(t, from, "m.gguf", "--config", file));
});

test("every type and recipe", async (t) => {
  const model = oneLayer(t);
  const from = store(t, model);
  await pick(page, model);
  await set(page, { output: "gguf", scales: "standard", unweighted: true, report: false, "file-name": "m.gguf" });
  const offered = await page.$$eval("#type option", (options) => options.map(({ value }) => value));
  const names = [...types, ...recipes].map(({ name }) => name);
  assert.deepEqual(names.filter((name) => !offered.includes(name)), ["mxfp4"]);
  for (const type of new Set(names.filter((name) => offered.includes(name)))) {
    await set(page, { type });
    const args = ["--type", type, "--scale-optimization", "standard", "--allow-unweighted"];
    await same(page, await exported(t, from, "m.gguf", ...args));
  }
});

test("every small model, on one thread and on several", async (t) => {
  const single = await open(browser.context, `${server.url}?threads=1`);
  const models = readdirSync(oracle(""), { withFileTypes: true });
  for (const [at, { name }] of models.filter((entry) => entry.isDirectory()).entries()) {
    const expected = await exported(t, store(t, oracle(name)), "m.gguf", "--type", "q4_k_m");
    const on = at % 2 ? page : single;
    await pick(on, oracle(name));
    await set(on, { output: "gguf", type: "q4_k_m", "file-name": "m.gguf", report: true });
    await same(on, expected);
  }
  assert.deepEqual(single.problems, []);
  await single.close();
});

test("one thread writes what two write", async (t) => {
  const single = await open(browser.context, `${server.url}?threads=1`);
  assert.match(await single.textContent("#engine"), /1 thread$/);
  await pick(single, TRAINED);
  await set(single, { type: "q5_k_m", "file-name": "m.gguf" });
  await same(single, await exported(t, store(t, TRAINED), "m.gguf", "--type", "q5_k_m"));
  await single.close();
});

test("a store and a GGUF file are sources, too", async (t) => {
  const from = store(t, TRAINED);
  await pick(page, from);
  await set(page, { type: "q6_k", "file-name": "m.gguf", report: true });
  const q6 = await exported(t, from, "m.gguf", "--type", "q6_k");
  await same(page, q6);

  // The file that was made, downloaded and taken again; so is a store.
  const download = page.waitForEvent("download");
  await page.click("#files button");
  const dir = folder(t);
  const gguf = path.join(dir, "again.gguf");
  await (await download).saveAs(gguf);
  await pick(page, [gguf]);
  assert.match(await page.innerText("#summary"), /GGUF/);
  const again = store(t, gguf);
  await set(page, { "file-name": "m.gguf" });
  await same(page, await exported(t, again, "m.gguf"));
  await set(page, { type: "q4_0" });
  await same(page, await exported(t, again, "m.gguf", "--type", "q4_0"));

  await pick(page, TRAINED);
  await set(page, { output: "store", block: "B8x8" });
  assert.equal(await convert(page), undefined);
  const archive = page.waitForEvent("download");
  await page.click("#files button");
  const tar = path.join(dir, "model.gmat.tar");
  await (await archive).saveAs(tar);
  await pick(page, [tar]);
  assert.match(await page.innerText("#summary"), /GMAT store/);
  await set(page, { type: "q6_k", "file-name": "m.gguf" });
  await same(page, q6);
});
