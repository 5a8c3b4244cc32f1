// The worker that owns the module and its threads. Whatever the page asks for is a method here; the
// page ends the worker to cancel.

import init, { initThreadPool, Session } from "../pkg/gmat.js";
import * as disk from "./disk.js";
import { inBrowser, onDisk } from "./output.js";
import { tellCalls } from "./plugins.js";
import { Reporter } from "./progress.js";
import { lookAgain, ofPicked, ofStored, remember, useReader } from "./sources.js";

/** @typedef {import("./sources.js").Picked} Picked */
/** @typedef {import("./output.js").Target} Target */

/** Names of files in the browser's storage. */
const STORE = "store.tar", RESULT = "result.tar";

/** @type {Session} */
let session;
let tab = "";
/** The store that is being read. @type {FileSystemSyncAccessHandle | undefined} */
let reading;

const methods = {
  /** @param {{tab: string, threads: number, reader?: import("./sources.js").Reader}} options */
  async start(options) {
    tab = options.tab;
    useReader(options.reader);
    const { memory } = await init();
    // Before anything else that computes; without isolation everything is done by this thread.
    if (self.crossOriginIsolated && options.threads > 1) await initThreadPool(options.threads);
    session = new Session(tab);
    const formats = JSON.parse(session.formats());
    if (!self.crossOriginIsolated) {
      tellCalls((call) => post({ call }));
      return { formats };
    }
    const [at, threads] = session.watched();
    return { formats, watched: { memory: memory.buffer, at, threads } };
  },

  /** @param {{name: string, wasm: ArrayBuffer}} options */
  async plugin({ name, wasm }) {
    const plugin = JSON.parse(session.addPlugin(name, new Uint8Array(wasm)));
    return { plugin, formats: JSON.parse(session.formats()) };
  },

  /** @param {{name: string}} options */
  async unplug({ name }) {
    session.removePlugin(name);
    return JSON.parse(session.formats());
  },

  /** @param {{title: string, name?: string, picked: Picked[]}} options */
  async open({ title, name, picked }) {
    await forget();
    const only = picked.length === 1 && !/\.tar$/i.test(picked[0].path) ? picked[0].path : undefined;
    return JSON.parse(session.open(ofPicked(title, picked), name, only));
  },

  /** @param {object} options */
  async draft(options) {
    return JSON.parse(session.draft(JSON.stringify(options)));
  },

  /** @param {object} options */
  async plan(options) {
    return JSON.parse(session.plan(JSON.stringify(options)));
  },

  /** @param {object} options */
  async recommend(options) {
    return session.recommend(JSON.stringify(options));
  },

  /** @param {{file?: File}} options */
  async matrix({ file }) {
    const files = file && ofPicked("", [{ path: file.name, file }]);
    session.useMatrix(files, file?.name ?? "");
  },

  /** @param {{title: string, picked: Picked[]}} options */
  async base({ title, picked }) {
    session.useBase(ofPicked(title, picked));
  },

  /** @param {object} options */
  async planArrays(options) {
    return JSON.parse(session.planArrays(JSON.stringify(options)));
  },

  /** @param {{options: object, target: Target, name: string}} request */
  async arrays({ options, target, name }) {
    const output = await open(target, `${name}/`);
    const reporter = new Reporter(post);
    reporter.stages = ["arrays"];
    return run(output, () => session.writeArrays(JSON.stringify(options), output.sink, reporter));
  },

  /** Writes the store. @param {object} options */
  async import(options) {
    await forget();
    await disk.remove(tab, RESULT);
    const output = await inBrowser(tab, STORE, "model.gmat/");
    const reporter = new Reporter(post);
    reporter.stages = ["import"];
    const written = await run(output, () =>
      session.import(JSON.stringify(options), output.sink, reporter));
    await methods.reuse();
    return written;
  },

  /** Takes the store that an earlier worker wrote. */
  async reuse() {
    const file = await (await disk.folder(tab)).getFileHandle(STORE);
    reading = await file.createSyncAccessHandle();
    session.useStore(ofStored(reading));
  },

  /** Removes the store. */
  async forget() {
    await forget();
    await disk.remove(tab, STORE);
  },

  /** @param {{options: object, target: Target, measured: boolean}} request */
  async export({ options, target, measured }) {
    const output = await open(target, "");
    const reporter = new Reporter(post);
    reporter.stages = measured ? ["measure", "export"] : ["export"];
    return run(output, () => session.export(JSON.stringify(options), output.sink, reporter));
  },
};

/** @param {Target} target @param {string} folder what paths begin with in the browser's storage */
function open(target, folder) {
  return target.to === "disk" ? onDisk(target) : inBrowser(tab, RESULT, folder);
}

/** Closes the store that was written for another model. */
async function forget() {
  session.forgetStore();
  reading?.close();
  reading = undefined;
}

/**
 * Writes an output, whole or not at all.
 * @param {import("./output.js").Output} output
 * @param {() => string} work
 */
async function run(output, work) {
  let answer;
  remember();
  try {
    answer = JSON.parse(work());
    lookAgain();
  } catch (error) {
    await output.abort().catch(() => {});
    throw error;
  }
  try {
    return { ...answer, written: await output.commit() };
  } catch (error) {
    await output.abort().catch(() => {});
    throw error;
  }
}

/** @param {object} message */
function post(message) {
  postMessage(message);
}

/** What went wrong, as the page shows it. @param {any} error */
function problem(error) {
  if (typeof error === "string" && error.startsWith("{")) return JSON.parse(error);
  const internal = error instanceof WebAssembly.RuntimeError || error instanceof TypeError;
  return {
    kind: internal ? "internal" : "io",
    chain: [error?.message ?? String(error)],
    hint: error?.hint ?? null,
  };
}

let queue = Promise.resolve();
addEventListener("message", ({ data }) => {
  const { id, method, options } = data;
  queue = queue.then(async () => {
    try {
      const run = methods[/** @type {keyof typeof methods} */ (method)];
      post({ id, value: await run(options) });
    } catch (error) {
      post({ id, problem: problem(error) });
    }
  });
});
post({ ready: true });
