// The page's side of the worker: requests with numbers, answers, progress; and a new worker in the
// place of one that was ended.

import { Watch } from "./watch.js";
import { BYTES, PIECE } from "./worker/shared.js";

/** @typedef {import("./worker/progress.js").Progress} Progress */

/** @typedef {{kind: string, message?: string, chain: string[], hint: string | null}} Problem what went wrong, places first */

/** A failure that the worker told of. */
export class Refusal extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.chain[problem.chain.length - 1]);
    this.problem = problem;
  }
}

export class Client {
  /** @param {{tab: string, threads: number}} options */
  constructor(options) {
    this.options = options;
    /** @type {(progress: Progress) => void} */
    this.onprogress = () => {};
    /** @type {(text: string) => void} */
    this.onnote = () => {};
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.number = 0;
    // A panic in a thread of the pool leaves the worker waiting for ever: it is heard of here.
    this.channel = new BroadcastChannel(options.tab);
    this.channel.onmessage = ({ data }) => this.broken(String(data));
    /** @type {Worker | undefined} */
    this.worker = undefined;
    /** @type {Worker | undefined} */
    this.reading = undefined;
    /** Names of plugins, by number. @type {Map<number, string>} */
    this.plugins = new Map();
    this.watch = new Watch(({ plugin, seconds }) => this.end({
      kind: "plugin",
      chain: [`plugin ${this.plugins.get(plugin) ?? plugin}`,
        `stopped after ${seconds} seconds in one call: it does not end, or is far too slow`],
      hint: "choose a type that is built in, or remove the plugin",
    }));
  }

  /** Starts a worker; answers what it can do. */
  async start() {
    this.worker = new Worker(new URL("./worker/main.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.hear(data);
    this.worker.onerror = (event) => this.broken(event.message || "the worker could not be loaded");
    const reader = this.reader();
    const { formats, watched } =
      await this.ask("start", { ...this.options, reader }, reader ? [reader.port] : []);
    this.plugins.clear();
    this.watch.start(watched);
    return formats;
  }

  /** Starts the worker that reads, where memory can be shared. */
  reader() {
    this.reading?.terminate();
    if (!crossOriginIsolated) return undefined;
    this.reading = new Worker(new URL("./worker/reader.js", import.meta.url), { type: "module" });
    const { port1, port2 } = new MessageChannel();
    const shared = new SharedArrayBuffer(BYTES + PIECE);
    this.reading.postMessage({ port: port1, shared }, [port1]);
    return { port: port2, shared };
  }

  /**
   * @param {string} method
   * @param {object} [options]
   * @param {Transferable[]} [moved] what goes over to the worker
   * @returns {Promise<any>}
   */
  ask(method, options = {}, moved = []) {
    const id = ++this.number;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker?.postMessage({ id, method, options }, moved);
    });
  }

  /** @param {any} data */
  hear(data) {
    if (data.progress) this.onprogress(data.progress);
    if (data.note) this.onnote(data.note);
    if ("call" in data) this.watch.hear(data.call);
    const waiting = this.waiting.get(data.id);
    if (!waiting) return;
    this.waiting.delete(data.id);
    if (data.problem) waiting.reject(new Refusal(data.problem));
    else waiting.resolve(data.value);
  }

  /** Ends the worker, and with it whatever it does. @param {Problem} problem what to tell those who wait */
  end(problem) {
    this.worker?.terminate();
    this.worker = undefined;
    this.watch.stop();
    const waiting = [...this.waiting.values()];
    this.waiting.clear();
    for (const { reject } of waiting) reject(new Refusal(problem));
  }

  /** @param {string} message */
  broken(message) {
    this.end({
      kind: "internal",
      chain: [`the program has failed: ${message}`],
      hint: "this is a fault of gmat; please report it with what you did",
    });
  }
}
