// What the page does when something goes wrong: it says so, leaves nothing half-written, and goes on.

import assert from "node:assert/strict";
import { cpSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { convert, made, pick, set } from "./browser.mjs";
import { exported, folder, oracle, store, TRAINED } from "./cli.mjs";
import { shared } from "./shared.mjs";

const { server, browser, page } = await shared({ expected: true });

/** Names of all files in the browser's storage. */
function leftovers(on) {
  return on.evaluate(async () => {
    const names = [];
    for await (const folder of (await navigator.storage.getDirectory()).values()) {
      for await (const name of folder.keys()) names.push(name);
    }
    return names;
  });
}

/** A copy of a model. */
function copy(t, model) {
  const dir = path.join(folder(t), "copy");
  cpSync(model, dir, { recursive: true });
  return dir;
}

/** The page still converts. */
async function works(t, on) {
  await pick(on, oracle("llama3"));
  await set(on, { type: "q8_0", "file-name": "m.gguf" });
  assert.equal(await convert(on), undefined);
  const expected = await exported(t, store(t, oracle("llama3")), "m.gguf", "--type", "q8_0");
  assert.deepEqual(await made(on), expected);
}

test("a conversion that is cancelled leaves nothing, and the next is right", async (t) => {
  await pick(page, TRAINED);
  await set(page, { type: "iq4_xs", "file-name": "m.gguf" });
  await page.click("#convert");
  await page.waitForFunction(() => document.getElementById("stage").textContent.includes("Quantizing"));
  await page.click("#cancel");
  await page.waitForSelector("#ready:not([hidden])");
  await page.waitForFunction(() => !document.getElementById("convert").disabled);
  assert.equal(await page.$("#run-problem .bad"), null);
  // What was imported is whole, and of use.
  assert.deepEqual(await leftovers(page), ["store.tar"]);
  await set(page, { type: "q4_0" });
  assert.equal(await convert(page), undefined);
  const expected = await exported(t, store(t, TRAINED), "m.gguf", "--type", "q4_0");
  assert.deepEqual(await made(page), expected);
});

test("a page that is loaded again in the middle tidies up and converts", async (t) => {
  await pick(page, TRAINED);
  await set(page, { type: "iq4_xs" });
  await page.click("#convert");
  await page.waitForFunction(() => document.getElementById("stage").textContent.includes("Quantizing"));
  page.once("dialog", (dialog) => dialog.accept());
  await page.reload();
  await page.waitForFunction(() => document.documentElement.dataset.ready);
  assert.match(await page.innerText("#notices"), /interrupted/);
  assert.deepEqual(await leftovers(page), []);
  await works(t, page);
});

test("damaged and foreign files are named, with what to do", async (t) => {
  const cut = copy(t, oracle("llama3"));
  const weights = path.join(cut, "model.safetensors");
  truncateSync(weights, readFileSync(weights).length - 1000);
  await pick(page, cut);
  assert.match(await page.innerText("#summary .bad"), /model\.safetensors[^]*→/);

  const broken = copy(t, oracle("llama3"));
  writeFileSync(path.join(broken, "tokenizer.json"), "{");
  await pick(page, broken);
  assert.match(await page.innerText("#plan-problem .bad"), /tokenizer[^]*→/);

  const noise = path.join(folder(t), "noise.gguf");
  writeFileSync(noise, "GGUF, or is it?");
  await pick(page, [noise]);
  assert.match(await page.innerText("#summary .bad"), /noise\.gguf/);

  const other = path.join(folder(t), "holiday.jpg");
  writeFileSync(other, "no model");
  await pick(page, [other]);
  assert.match(await page.innerText("#summary .bad"), /holiday\.jpg/);
  await works(t, page);
});

test("weights that are damaged are found while they are read", async (t) => {
  const model = copy(t, TRAINED);
  const weights = path.join(model, "tiny_llm.safetensors");
  const bytes = readFileSync(weights);
  // Not a number, in BF16.
  bytes.writeUInt16LE(0x7fc0, bytes.length - 100_000);
  writeFileSync(weights, bytes);
  await pick(page, model);
  assert.match(await convert(page), /not a finite number[^]*tensor/);
  assert.deepEqual(await leftovers(page), []);

  const damaged = copy(t, store(t, TRAINED));
  const name = path.join(damaged, "tensors", Object.values(JSON.parse(readFileSync(path.join(damaged, "metadata.json"))).tensor_name_map)[0] + ".gmat");
  const tensor = readFileSync(name);
  tensor[20] ^= 1;
  writeFileSync(name, tensor);
  await pick(page, damaged);
  assert.match(await convert(page), /damaged|checksum/);
  await works(t, page);
});

test("a file that changes after it was picked is noticed", async (t) => {
  const model = copy(t, TRAINED);
  await pick(page, model);
  truncateSync(path.join(model, "tiny_llm.safetensors"), 1_000_000);
  assert.match(await convert(page), /pick it again|shorter/);
  await works(t, page);
});

test("storage that is full ends the conversion, and leaves nothing", async (t) => {
  const session = await browser.context.newCDPSession(page);
  const origin = new URL(server.url).origin;
  await pick(page, TRAINED);
  const { usage } = await page.evaluate(() => navigator.storage.estimate());
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: usage + 4_000_000 });
  await set(page, { type: "q8_0" });
  assert.match(await convert(page), /storage[^]*full[^]*→/);
  assert.deepEqual(await leftovers(page), []);
  await session.send("Storage.overrideQuotaForOrigin", { origin });
  await page.evaluate(() => {
    navigator.storage.estimate = async () => ({ quota: 2_000_000, usage: 1_000_000 });
  });
  await pick(page, TRAINED);
  assert.match(await page.innerText("#room .warn"), /storage, which has 1.00 MB left/);
  await works(t, page);
});

test("a fault of the program is told, and the page goes on", async (t) => {
  await pick(page, oracle("llama3"));
  await page.evaluate(() => {
    const channel = new BroadcastChannel(document.documentElement.dataset.tab);
    setTimeout(() => channel.postMessage("panicked at a test"), 50);
    document.getElementById("convert").click();
  });
  await page.waitForSelector("#run-problem .bad");
  assert.match(await page.innerText("#run-problem .bad"), /panicked at a test/);
  await page.waitForFunction(() => !document.getElementById("convert").disabled);
  await works(t, page);
});
