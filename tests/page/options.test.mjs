// What the command line has options for: a base, importance, a size. The page writes the same bytes.

import assert from "node:assert/strict";
import { copyFileSync, cpSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { pick, set } from "./browser.mjs";
import { exported, folder, gmat, hashes, ROOT, store, TRAINED } from "./cli.mjs";
import { same, shared } from "./shared.mjs";

const { page } = await shared();

/** The trained model with other values in one tensor. */
function tuned(t) {
  const dir = path.join(folder(t), "tuned");
  cpSync(TRAINED, dir, { recursive: true });
  const file = path.join(dir, "tiny_llm.safetensors");
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const [from] = JSON.parse(bytes.subarray(8, start))["model.layers.0.mlp.up_proj.weight"].data_offsets;
  for (let at = start + from; at < start + from + 4000; at += 2) bytes[at] ^= 1;
  writeFileSync(file, bytes);
  return dir;
}

test("a store made against a base: the base is asked for, and bytes are the same", async (t) => {
  const base = store(t, TRAINED, "--block-format", "lossless");
  const from = store(t, tuned(t), "--block-format", "lossless", "--base", base);
  await pick(page, from);
  assert.ok(await page.isVisible("#base"));
  assert.match(await page.innerText("#plan-problem .bad"), /base of[^]*is missing[^]*→ choose the folder of the base/);
  await page.setInputFiles("#base-input", store(t, TRAINED));
  await page.waitForFunction(() => document.querySelector("#plan-problem .bad")?.textContent.includes("is not the base"));
  await page.setInputFiles("#base-input", base);
  await page.waitForFunction(() => !document.getElementById("convert").disabled);
  await set(page, { output: "gguf", type: "q5_k_m", "file-name": "m.gguf" });
  await same(page, await exported(t, from, "m.gguf", "--type", "q5_k_m", "--base", base));
  await set(page, { output: "arrays", "folder-name": "out" });
  const dir = folder(t);
  gmat(["convert", "-q", "--progress", "none", "-i", from, "--base", base, "-o", path.join(dir, "out")], dir);
  await same(page, await hashes(path.join(dir, "out"), "out/"));
  await pick(page, TRAINED);
  assert.equal(await page.isVisible("#base"), false);
});

test("importance matrices in both forms", async (t) => {
  const data = (name) => path.join(ROOT, "tests/data/quantize", name);
  const from = store(t, data("llama.gguf"));
  await pick(page, [data("llama.gguf")]);
  for (const matrix of ["llama.imatrix.gguf", "llama.imatrix.dat"]) {
    const dir = folder(t);
    copyFileSync(data(matrix), path.join(dir, matrix));
    await page.setInputFiles("#matrix-input", data(matrix));
    await page.waitForFunction((name) => document.getElementById("matrix-name").textContent === name, matrix);
    await set(page, { output: "gguf", type: "iq2_xs", "file-name": "m.gguf" });
    // The name of the matrix is in the file, as it was given.
    gmat(["export", "-q", "--progress", "none", "-m", from, "--type", "iq2_xs", "--imatrix", matrix, "-o", "m.gguf"], dir);
    const { "m.gguf": expected } = await hashes(dir, "");
    await same(page, { "m.gguf": expected });
  }
});

test("types for a size", async (t) => {
  const from = store(t, TRAINED);
  const config = path.join(folder(t), "config.json");
  await pick(page, TRAINED);
  for (const target of [{ target_size: 4_000_000 }, { target_bpw: 5.5 }]) {
    writeFileSync(config, JSON.stringify({ ...target, quantization: { scale_optimization: "standard" } }));
    await page.setInputFiles("#config-input", config);
    await page.waitForSelector("#config-state:not([hidden])");
    await set(page, { "file-name": "m.gguf" });
    assert.match(await page.innerText("#estimate"), /at most/);
    await same(page, await exported(t, from, "m.gguf", "--config", config));
  }
});
