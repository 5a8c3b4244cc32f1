// Looks once a second whether a plugin comes back from what it was called for. One that does not can be
// ended only together with the worker that called it.

/** @typedef {import("./worker/plugins.js").Call} Call */

/** Where threads note their calls, see `web/src/plugin/watch.rs`. @typedef {{memory: SharedArrayBuffer, at: number, threads: number}} Watched */

/** Numbers of a thread: beginnings and ends of calls, the plugin, seconds that the call may take. */
const NUMBERS = 3;

/** Milliseconds between two looks. */
const PAUSE = 1000;

export class Watch {
  /** @param {(call: Call) => void} late what to do when a call takes too long */
  constructor(late) {
    this.late = late;
    /** Calls that have been seen: what was counted, and how often it was the same. @type {{count: number, looks: number}[]} */
    this.seen = [];
    /** Where they are seen. @type {() => (Call & {count: number} | undefined)[]} */
    this.look = () => [];
    this.timer = 0;
    this.told = { count: 0, call: /** @type {Call | undefined} */ (undefined) };
  }

  /** Begins to look, at shared memory if there is some. @param {Watched | undefined} watched */
  start(watched) {
    this.stop();
    if (watched) {
      const { memory, at, threads } = watched;
      const numbers = new Int32Array(memory, at, NUMBERS * threads);
      this.look = () => Array.from({ length: threads }, (_, thread) => {
        const [count, plugin, seconds] = [0, 1, 2].map((number) =>
          Atomics.load(numbers, NUMBERS * thread + number));
        return count % 2 ? { count, plugin, seconds } : undefined;
      });
    } else {
      this.look = () => [this.told.call && { ...this.told.call, count: this.told.count }];
    }
    this.timer = setInterval(() => this.tick(), PAUSE);
  }

  stop() {
    clearInterval(this.timer);
    this.seen = [];
    this.told = { count: 0, call: undefined };
  }

  /** Hears of a call, where memory is not shared. @param {Call | undefined} call */
  hear(call) {
    this.told = { count: this.told.count + 1, call };
  }

  tick() {
    this.look().forEach((call, thread) => {
      const before = this.seen[thread];
      // Counted in looks, not by the clock: a machine may sleep.
      const looks = call && before?.count === call.count ? before.looks + 1 : 0;
      this.seen[thread] = { count: call?.count ?? -1, looks };
      if (call && looks > call.seconds) this.late(call);
    });
  }
}
