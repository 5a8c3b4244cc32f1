// How fast the page is: one thread of it beside one of the command line, and two threads beside one.
// `tests/page/run.sh … speed.mjs [TYPE...]`
//
// One thread is compared by processor time, which other work on the machine changes little; two
// threads by elapsed time, the shortest of some runs, on a machine that has nothing else to do.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { browse, convert, open, pick, serve, set } from "./browser.mjs";
import { write } from "./model.mjs";
import { renderers, time } from "./processes.mjs";

const RUNS = 3;
const types = process.argv.slice(2).length ? process.argv.slice(2) : ["q8_0", "q4_0", "q4_k", "q6_k", "iq4_xs"];
const dir = mkdtempSync(path.join(tmpdir(), "gmat-speed-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
const model = path.join(dir, "model");
const bytes = write(model, { hidden: 1024, inner: 4096, layers: 4, vocab: 8192 });

/** Processor time of the command line, in seconds. */
function native(...args) {
  const timed = 'TIMEFORMAT="%U %S"; time "$@" 2>/dev/null';
  const text = execFileSync("bash", ["-c", `{ ${timed}; } 2>&1`, "bash", process.env.GMAT, ...args,
    "-q", "--progress", "none", "--jobs", "1"], { cwd: dir, encoding: "utf8" });
  return text.trim().split(" ").reduce((sum, part) => sum + Number(part), 0);
}

/** Elapsed and processor time of a conversion in the page. */
async function inPage(page, profile) {
  const used = () => renderers(profile).reduce((sum, pid) => sum + time(pid), 0);
  const [wall, cpu] = [performance.now(), used()];
  const problem = await convert(page);
  if (problem) throw new Error(problem);
  return { wall: (performance.now() - wall) / 1000, cpu: used() - cpu };
}

const server = await serve();
/** Best times by step and number of threads. */
const best = {};
const note = (step, key, value) => {
  best[step] ??= {};
  best[step][key] = Math.min(best[step][key] ?? Infinity, value);
};
for (let run = 0; run < RUNS; run += 1) {
  note("import", "native", native("import", "-m", model, "-o", dir));
  for (const type of types) {
    note(type, "native", native("export", "-m", path.join(dir, "model.gmat"), "--type", type,
      "--scale-optimization", "standard", "--no-tokenizer", "-o", "m.gguf"));
  }
  for (const threads of [1, 2]) {
    const browser = await browse();
    const page = await open(browser.context, `${server.url}?threads=${threads}`);
    await pick(page, model);
    await set(page, { scales: "standard", "no-tokenizer": true, report: false });
    const measure = async (step) => {
      const { wall, cpu } = await inPage(page, browser.profile);
      note(step, `wall${threads}`, wall);
      note(step, `cpu${threads}`, cpu);
    };
    await set(page, { output: "store" });
    await measure("import");
    await set(page, { output: "gguf" });
    for (const type of types) {
      await set(page, { type });
      await measure(type);
    }
    await browser.close();
  }
}
server.close();

console.log(`${(bytes / 1e6).toFixed(0)} MB of F32\n`);
console.log("| step | native, one thread | page, one thread | share of native | two threads to one |");
console.log("|---|---|---|---|---|");
for (const [step, { native, cpu1, wall1, wall2 }] of Object.entries(best)) {
  const name = step === "import" ? "import (B8x8)" : `export ${step}`;
  console.log(`| ${name} | ${native.toFixed(2)} s | ${cpu1.toFixed(2)} s | ${(100 * native / cpu1).toFixed(0)} % | ${(wall1 / wall2).toFixed(2)} |`);
}
