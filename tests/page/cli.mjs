// The command line, whose bytes the page must write.

import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { hash } from "./browser.mjs";

export const ROOT = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), "../..");
export const TRAINED = path.join(ROOT, "example/tiny_llm/hf-model");
export const oracle = (name) => path.join(ROOT, "tests/data/oracle", name);

/** Runs it in a folder of its own, where no config is found by chance. */
export function gmat(args, cwd) {
  return execFileSync(process.env.GMAT, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
}

export const formats = () => JSON.parse(gmat(["formats", "--json"], tmpdir()));

/** A folder that is removed after the test. */
export function folder(test) {
  const made = mkdtempSync(path.join(tmpdir(), "gmat-cli-"));
  test.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** Imports a model; answers the folder of its store. */
export function store(test, model, ...args) {
  const dir = folder(test);
  gmat(["import", "-q", "--progress", "none", "-m", model, "-o", dir, ...args], dir);
  return path.join(dir, "model.gmat");
}

/** Exports a store; answers the hashes of all GGUF files. What lies beside them is the command line's alone. */
export async function exported(test, from, name, ...args) {
  const dir = folder(test);
  gmat(["export", "-q", "--progress", "none", "-m", from, "-o", path.join(dir, name), ...args], dir);
  const all = Object.entries(await hashes(dir, ""));
  return Object.fromEntries(all.filter(([name]) => name.endsWith(".gguf")));
}

/** Hashes of all files below a folder, by path. */
export async function hashes(dir, prefix) {
  const found = {};
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const [from, to] = [path.join(dir, entry.name), prefix + entry.name];
    if (entry.isDirectory()) Object.assign(found, await hashes(from, `${to}/`));
    else found[to] = await hash(from);
  }
  return found;
}

/** The trained model with its first layer only: small, and with rows that fit every type. */
export function oneLayer(test) {
  const dir = path.join(folder(test), "one-layer");
  cpSync(TRAINED, dir, { recursive: true });
  const weights = path.join(dir, "tiny_llm.safetensors");
  const bytes = readFileSync(weights);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, start));
  const data = [];
  let end = 0;
  for (const [name, tensor] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (/\.layers\.[1-9]/.test(name)) {
      delete header[name];
      continue;
    }
    const [from, to] = tensor.data_offsets;
    data.push(bytes.subarray(start + from, start + to));
    tensor.data_offsets = [end, end + to - from];
    end += to - from;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(weights, Buffer.concat([length, text, ...data]));
  const config = path.join(dir, "config.json");
  const json = JSON.parse(readFileSync(config));
  json.num_hidden_layers = 1;
  writeFileSync(config, JSON.stringify(json));
  return dir;
}
