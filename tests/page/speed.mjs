// How fast the page is: one thread of it beside one of the command line, and two threads beside one.
// `tests/page/run.sh … speed.mjs`, or `node speed.mjs TYPE[/trellis]...`; COPIES=8 for a larger model.
//
// Twice: by the clock, which is what people wait, on a machine with nothing else to do; and by processor
// time, which other work on the machine changes little. There two threads take as long as the busiest
// thread of the page, and at least half of what all of them take.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { browse, convert, open, pick, serve, set } from "./browser.mjs";
import { write } from "./model.mjs";
import { renderers, times } from "./processes.mjs";

/** Each step is measured so often in one page: browsers compile better while the first is running. */
const RUNS = 3;
/** What is aimed at. */
const SHARE = 0.4, GAIN = 1.7;
const given = process.argv.slice(2);
/** Types, with the search for scales. */
const steps = (given.length ? given : ["q8_0", "q4_0", "q4_k", "q6_k", "iq4_xs", "q4_k/trellis"]).map((name) => {
  const [type, scales = "standard"] = name.split("/");
  return { name: `export ${type}, ${scales}`, type, scales };
});
const dir = mkdtempSync(path.join(tmpdir(), "gmat-speed-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
const model = path.join(dir, "model");
const bytes = write(model, { hidden: 1024, inner: 4096, layers: 3 * Number(process.env.COPIES ?? 1), vocab: 8192 });

/** Seconds of the command line: by the clock, and of processor time. */
function native(...args) {
  const timed = 'TIMEFORMAT="%R %U %S"; time "$@" 2>/dev/null';
  const text = execFileSync("bash", ["-c", `{ ${timed}; } 2>&1`, "bash", process.env.GMAT, ...args,
    "-q", "--progress", "none", "--jobs", "1"], { cwd: dir, encoding: "utf8" });
  const [clock, user, system] = text.trim().split(" ").map(Number);
  return { clock, busy: user + system };
}

/** Seconds of a conversion in the page: by the clock, of all threads, and of the busiest. */
async function inPage(page, profile) {
  const used = () => new Map(renderers(profile).flatMap((pid) => [...times(pid)]));
  const before = used();
  const start = performance.now();
  const problem = await convert(page, { timeout: 900_000 });
  const clock = (performance.now() - start) / 1000;
  if (problem) throw new Error(problem);
  const each = [...used()].map(([thread, time]) => time - (before.get(thread) ?? 0));
  return { clock, all: each.reduce((sum, time) => sum + time, 0), busy: Math.max(...each) };
}

/** Best times by step and by who took them: `native`, 1 or 2 threads. @type {Record<string, Record<string, any>>} */
const best = {};
const note = (step, who, times) => {
  best[step] ??= {};
  const known = (best[step][who] ??= {});
  for (const [key, value] of Object.entries(times)) known[key] = Math.min(known[key] ?? Infinity, value);
};

const IMPORT = "import, B8x8";
for (let run = 0; run < RUNS; run += 1) {
  note(IMPORT, "native", native("import", "-m", model, "-o", dir));
  for (const { name, type, scales } of steps) {
    note(name, "native", native("export", "-m", path.join(dir, "model.gmat"), "--type", type,
      "--scale-optimization", scales, "--no-tokenizer", "-o", "m.gguf"));
  }
}
const server = await serve();
for (const threads of [1, 2]) {
  const browser = await browse();
  const page = await open(browser.context, `${server.url}?threads=${threads}`);
  await pick(page, model);
  await set(page, { "no-tokenizer": true, report: false });
  for (let run = 0; run < RUNS; run += 1) {
    // What was imported for another format is forgotten.
    await set(page, { output: "store", block: "raw" });
    await set(page, { block: "B8x8" });
    note(IMPORT, threads, await inPage(page, browser.profile));
  }
  await set(page, { output: "gguf" });
  for (const { name, type, scales } of steps) {
    await set(page, { type, scales });
    for (let run = 0; run < RUNS; run += 1) note(name, threads, await inPage(page, browser.profile));
  }
  await browser.close();
}
server.close();

console.log(`${(bytes / 1e6).toFixed(0)} MB of F32; the best of ${RUNS}\n`);
const seconds = (value) => `${value.toFixed(2)} s`;
const share = (value) => `${(100 * value).toFixed(0)} %${value < SHARE ? " (!)" : ""}`;
const gain = (value) => `${value.toFixed(2)}${value < GAIN ? " (!)" : ""}`;
const heads = ["native, one thread", "page, one thread", `share of native (at least ${100 * SHARE} %)`,
  "page, two threads", `two threads to one (at least ${GAIN})`];
const table = (title, rows) => {
  console.log([`| ${[title, ...heads].join(" | ")} |`, `|${"---|".repeat(heads.length + 1)}`,
    ...rows.map((row) => `| ${row.join(" | ")} |`), ""].join("\n"));
};
const measured = Object.entries(best);
table("by the clock", measured.map(([step, { native, 1: one, 2: two }]) => [step, seconds(native.clock),
  seconds(one.clock), share(native.clock / one.clock), seconds(two.clock), gain(one.clock / two.clock)]));
table("by processor time (all threads)", measured.map(([step, { native, 1: one, 2: two }]) => [step, seconds(native.busy),
  `${seconds(one.busy)} (${seconds(one.all)})`, share(native.busy / one.busy),
  `${seconds(two.busy)} (${seconds(two.all)})`, gain(one.busy / Math.max(two.busy, two.all / 2))]));
