// A model of 6 GB, two of its tensors beyond 2 GB, in the page: the bytes of the command line in less
// than 1 GB of memory. `tests/page/run.sh … big.mjs` with 9 GB of room in TMPDIR.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { browse, convert, hash, open, pick, serve, set } from "./browser.mjs";
import { gmat } from "./cli.mjs";
import { write } from "./model.mjs";
import { watch } from "./processes.mjs";

const dir = mkdtempSync(path.join(tmpdir(), "gmat-big-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
const model = path.join(dir, "model");
const bytes = write(model, { hidden: 2048, inner: 8192, layers: 6, vocab: 270_000 });
const shown = (bytes) => `${(bytes / 1e9).toFixed(2)} GB`;

const server = await serve();
const browser = await browse();
const page = await open(browser.context, server.url);
await pick(page, model);
await set(page, { type: "q4_0", scales: "standard", "no-tokenizer": true, report: false, "file-name": "m.gguf" });
const watching = watch(browser.profile);
const start = performance.now();
assert.equal(await convert(page, { timeout: 1_800_000 }), undefined);
const seconds = (performance.now() - start) / 1000;
const memory = watching.stop();
const download = page.waitForEvent("download");
await page.click("#files button");
const made = path.join(dir, "page.gguf");
await (await download).saveAs(made);
await browser.close();
server.close();

gmat(["import", "-q", "--progress", "none", "-m", model, "-o", dir], dir);
gmat(["export", "-q", "--progress", "none", "-m", path.join(dir, "model.gmat"), "--type", "q4_0",
  "--scale-optimization", "standard", "--no-tokenizer", "-o", path.join(dir, "m.gguf")], dir);
assert.equal(await hash(made), await hash(path.join(dir, "m.gguf")));
console.log(`${shown(bytes)} in ${seconds.toFixed(0)} s, most memory of the page ${shown(memory)}, same bytes`);
assert.ok(memory < 1e9, "too much memory");
