// What processes of the browser use, from /proc.

import { readdirSync, readFileSync } from "node:fs";

const read = (file) => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // it has ended meanwhile
  }
};

/** Ids of all renderers of the browser with this profile. */
export function renderers(profile) {
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const parents = new Map(processes.map((pid) => [pid, /\) \S (\d+)/.exec(read(`/proc/${pid}/stat`))?.[1]]));
  const root = processes.find((pid) => read(`/proc/${pid}/cmdline`).includes(`--user-data-dir=${profile}\0`)
    && !read(`/proc/${pid}/cmdline`).includes("--type="));
  const below = (pid) => pid === root || (parents.get(pid) && pid !== "1" && below(parents.get(pid)));
  return processes.filter((pid) => below(pid) && read(`/proc/${pid}/cmdline`).includes("--type=renderer"));
}

/** Bytes of memory that a process has for itself or shares, without files. */
export function memory(pid) {
  const status = read(`/proc/${pid}/status`);
  const of = (name) => 1024 * Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
  return of("RssAnon") + of("RssShmem");
}

/** Seconds of processor time of every thread. */
export function times(pid) {
  const found = new Map();
  let threads = [];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    // It has ended meanwhile.
  }
  for (const thread of threads) {
    const fields = read(`/proc/${pid}/task/${thread}/stat`).split(") ")[1]?.split(" ") ?? [];
    found.set(thread, (Number(fields[11]) + Number(fields[12])) / 100);
  }
  return found;
}

/** Watches the largest renderer until `stop` is called, which answers the most it had. */
export function watch(profile) {
  let most = 0;
  const timer = setInterval(() => {
    for (const pid of renderers(profile)) most = Math.max(most, memory(pid));
  }, 100);
  return {
    stop() {
      clearInterval(timer);
      return most;
    },
  };
}
