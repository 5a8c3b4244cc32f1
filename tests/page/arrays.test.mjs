// Arrays for NumPy and JAX: the files that `gmat convert` writes.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { chooses, convert, pick, set } from "./browser.mjs";
import { folder, gmat, hashes, oracle, store, TRAINED } from "./cli.mjs";
import { same, shared } from "./shared.mjs";

const { server, browser, page } = await shared();

/** Hashes of what the command line writes, below the folder `out`. */
async function converted(t, from, ...args) {
  const dir = folder(t);
  gmat(["convert", "-q", "--progress", "none", "-i", from, "-o", path.join(dir, "out"), ...args], dir);
  return hashes(path.join(dir, "out"), "out/");
}

test("arrays of the trained model, in every format, precision and size of shards", async (t) => {
  await pick(page, TRAINED);
  await set(page, { output: "arrays", "folder-name": "out" });
  for (const container of ["numpy-direct", "msgpack", "jax-pickle"]) {
    await set(page, { container });
    await same(page, await converted(t, TRAINED, "--format", container));
  }
  await set(page, { container: "numpy-direct", precision: "float32", shard: "5 MB" });
  const split = await converted(t, TRAINED, "--precision", "float32", "--shard-size", "0.005");
  assert.ok(Object.keys(split).some((name) => name.startsWith("out/shard_001/")));
  await same(page, split);
  await set(page, { shard: "" });
});

test("arrays of every source: store, GGUF, codes of MXFP4", async (t) => {
  const from = store(t, TRAINED);
  await pick(page, from);
  await set(page, { output: "arrays", "folder-name": "out" });
  await same(page, await converted(t, from));

  const gguf = path.join(folder(t), "m.gguf");
  gmat(["export", "-q", "--progress", "none", "-m", from, "--type", "q4_k_m", "-o", gguf], path.dirname(gguf));
  await pick(page, [gguf]);
  await set(page, { output: "arrays", "folder-name": "out" });
  await same(page, await converted(t, gguf));

  await pick(page, oracle("gpt_oss"));
  await set(page, { output: "arrays", "folder-name": "out", mxfp4: "raw" });
  await same(page, await converted(t, oracle("gpt_oss"), "--mxfp4", "raw"));
});

test("names that are longer than tar had room for", async (t) => {
  const model = path.join(folder(t), "long");
  mkdirSync(model);
  const name = `${"a.long.name.".repeat(12)}weight`;
  const header = JSON.stringify({ [name]: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] } });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(path.join(model, "model.safetensors"), Buffer.concat([length, Buffer.from(header), Buffer.alloc(16, 1)]));
  await pick(page, model);
  await set(page, { output: "arrays", "folder-name": "out" });
  const expected = await converted(t, model);
  await same(page, expected);
  const download = page.waitForEvent("download");
  await page.click("#files button");
  const dir = folder(t);
  await (await download).saveAs(path.join(dir, "out.tar"));
  execFileSync("tar", ["xf", "out.tar"], { cwd: dir });
  assert.deepEqual(await hashes(path.join(dir, "out"), "out/"), expected);
});

test("arrays straight to a folder that the user chooses", async (t) => {
  const on = await chooses(browser.context, server.url);
  await pick(on.page, TRAINED);
  await set(on.page, { output: "arrays", "folder-name": "out" });
  const expected = await converted(t, TRAINED);
  assert.equal(await convert(on.page), undefined);
  assert.deepEqual(await on.chosen(), expected);
  // What is there is not mixed with anything.
  assert.match(await convert(on.page), /the folder out is there already, and holds/);
  assert.deepEqual(await on.chosen(), expected);

  await on.clear();
  await set(on.page, { "folder-name": "other" });
  assert.equal(await convert(on.page), undefined);
  assert.match(await on.page.innerText("#files"), /other[^]*on your disk/);

  // By way of the browser's storage.
  await on.clear();
  await set(on.page, { direct: false, "folder-name": "out" });
  assert.equal(await convert(on.page), undefined);
  await on.page.click("text=Save as a folder");
  await on.page.waitForSelector("text=Saved.");
  assert.deepEqual(await on.chosen(), expected);
  await on.page.click("text=Save as a folder");
  await on.page.waitForSelector("#run-problem .bad");
  assert.match(await on.page.innerText("#run-problem .bad"), /is there already/);
  assert.deepEqual(on.page.problems, []);
  await on.page.close();
});

/** Waits until the page says so about the plan. */
async function says(...parts) {
  await page.waitForFunction((parts) => {
    const said = document.querySelector("#plan-problem .bad")?.innerText ?? "";
    return parts.every((part) => said.includes(part));
  }, parts);
}

test("what cannot be arrays is said", async (t) => {
  await pick(page, TRAINED);
  await set(page, { output: "arrays", "folder-name": "out", shard: "1 MB" });
  await says("takes 2097280 bytes", "→ set “Split into files of at most” to 0.003 GB");
  await set(page, { shard: "", "folder-name": "a/b" });
  await says("no slashes");
  const broken = path.join(folder(t), "broken");
  mkdirSync(broken);
  const bytes = readFileSync(path.join(TRAINED, "tiny_llm.safetensors"));
  writeFileSync(path.join(broken, "model.safetensors"), bytes.subarray(0, bytes.length - 1000));
  await pick(page, broken);
  assert.match(await page.innerText("#summary .bad"), /model\.safetensors/);
});
