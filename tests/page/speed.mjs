// How fast the page is: one thread of it beside one of the command line, and two threads beside one.
// `tests/page/run.sh … speed.mjs`, or `node speed.mjs TYPE[/trellis]...`
//
// All by processor time, which other work on the machine changes little. Two threads take as long as the
// busiest thread of the page, and at least half of what all of them take.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { browse, convert, open, pick, serve, set } from "./browser.mjs";
import { write } from "./model.mjs";
import { renderers, times } from "./processes.mjs";

const RUNS = 2;
const given = process.argv.slice(2);
/** Types, with the search for scales. */
const steps = (given.length ? given : ["q8_0", "q4_0", "q4_k", "q6_k", "iq4_xs", "q4_k/trellis"]).map((name) => {
  const [type, scales = "standard"] = name.split("/");
  return { name: `export ${type}, ${scales}`, type, scales };
});
const dir = mkdtempSync(path.join(tmpdir(), "gmat-speed-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
const model = path.join(dir, "model");
const bytes = write(model, { hidden: 1024, inner: 4096, layers: 3, vocab: 8192 });

/** Processor time of the command line, in seconds. */
function native(...args) {
  const timed = 'TIMEFORMAT="%U %S"; time "$@" 2>/dev/null';
  const text = execFileSync("bash", ["-c", `{ ${timed}; } 2>&1`, "bash", process.env.GMAT, ...args,
    "-q", "--progress", "none", "--jobs", "1"], { cwd: dir, encoding: "utf8" });
  return text.trim().split(" ").reduce((sum, part) => sum + Number(part), 0);
}

/** Processor time of a conversion in the page: of all threads, and of the busiest. */
async function inPage(page, profile) {
  const used = () => new Map(renderers(profile).flatMap((pid) => [...times(pid)]));
  const before = used();
  const problem = await convert(page);
  if (problem) throw new Error(problem);
  const each = [...used()].map(([thread, time]) => time - (before.get(thread) ?? 0));
  return { all: each.reduce((sum, time) => sum + time, 0), busiest: Math.max(...each) };
}

const server = await serve();
/** Best times by step and number of threads. */
const best = {};
const note = (step, key, value) => {
  best[step] ??= {};
  best[step][key] = Math.min(best[step][key] ?? Infinity, value);
};
for (let run = 0; run < RUNS; run += 1) {
  note("import, B8x8", "native", native("import", "-m", model, "-o", dir));
  for (const { name, type, scales } of steps) {
    note(name, "native", native("export", "-m", path.join(dir, "model.gmat"), "--type", type,
      "--scale-optimization", scales, "--no-tokenizer", "-o", "m.gguf"));
  }
  for (const threads of [1, 2]) {
    const browser = await browse();
    const page = await open(browser.context, `${server.url}?threads=${threads}`);
    await pick(page, model);
    await set(page, { "no-tokenizer": true, report: false });
    const measure = async (step) => {
      const { all, busiest } = await inPage(page, browser.profile);
      note(step, `all${threads}`, all);
      note(step, `busiest${threads}`, busiest);
    };
    await set(page, { output: "store" });
    await measure("import, B8x8");
    await set(page, { output: "gguf" });
    for (const { name, type, scales } of steps) {
      await set(page, { type, scales });
      await measure(name);
    }
    await browser.close();
  }
}
server.close();

console.log(`${(bytes / 1e6).toFixed(0)} MB of F32\n`);
console.log("| step | native, one thread | page, one thread (all threads) | share of native | two threads: busiest (all) | two to one |");
console.log("|---|---|---|---|---|---|");
for (const [step, { native, all1, busiest1, all2, busiest2 }] of Object.entries(best)) {
  const shown = (seconds) => seconds.toFixed(2);
  const ratio = busiest1 / Math.max(busiest2, all2 / 2);
  console.log(`| ${step} | ${shown(native)} s | ${shown(busiest1)} s (${shown(all1)}) | ${(100 * native / busiest1).toFixed(0)} % | ${shown(busiest2)} s (${shown(all2)}) | ${shown(ratio)} |`);
}
