// Writes what it is sent to files that the user chose. A worker of its own, as these files are written
// asynchronously, while the worker that converts never returns to its event loop; and made by the page,
// as a worker made by that one would get nothing done meanwhile.

import { FAILED, WRITTEN } from "./sinks.js";

/**
 * @typedef {object} Start
 * @property {Int32Array<SharedArrayBuffer>} shared
 * @property {MessagePort} port where pieces come from
 * @property {FileSystemFileHandle} [file] the only file, whatever its name
 * @property {FileSystemDirectoryHandle} [folder] where files are made
 * @property {string} [own] name of a folder in there that is made for them
 */

/** @type {Start} */
let start;
/** @type {FileSystemWritableFileStream[]} */
const open = [];
/** @type {string[]} names of files that this run made */
const made = [];
/** @type {unknown} */
let failure;
let work = Promise.resolve();

/** @param {any} message */
async function handle(message) {
  if (message.begin !== undefined) {
    open.push(await (await target(message.begin)).createWritable());
  } else if (message.append) {
    await open[open.length - 1].write(message.append);
    Atomics.add(start.shared, WRITTEN, 1);
    Atomics.notify(start.shared, WRITTEN);
  } else if (message.finish && start.own) {
    // There may be many, and nothing is replaced.
    await open.pop()?.close();
  } else if (message.commit) {
    // What was there is replaced only now.
    for (const stream of open) await stream.close();
    answer({ done: true });
  }
}

/** @param {string} path */
async function target(path) {
  if (start.file) return start.file;
  if (!start.folder) throw new Error("no folder was chosen");
  if (start.own) {
    const folders = [start.own, ...path.split("/")];
    const name = /** @type {string} */ (folders.pop());
    let folder = start.folder;
    for (const inner of folders) folder = await folder.getDirectoryHandle(inner, { create: true });
    return folder.getFileHandle(name, { create: true });
  }
  const name = path;
  const exists = await start.folder.getFileHandle(name).catch(() => undefined);
  if (!exists) made.push(name);
  return exists ?? start.folder.getFileHandle(name, { create: true });
}

async function abort() {
  await Promise.allSettled(open.map((stream) => stream.abort()));
  await Promise.allSettled(made.map((name) => start.folder?.removeEntry(name)));
  if (start.own) await start.folder?.removeEntry(start.own, { recursive: true }).catch(() => {});
}

/** @param {any} data */
function take(data) {
  work = work.then(async () => {
    if (data.abort) {
      await abort();
      answer({ done: true });
    } else if (failure === undefined) {
      await handle(data);
    } else if (data.commit) {
      answer({ failure: text(failure) });
    }
  }).catch(async (error) => {
    failure = error;
    await abort();
    Atomics.store(start.shared, FAILED, 1);
    Atomics.add(start.shared, WRITTEN, 1);
    Atomics.notify(start.shared, WRITTEN);
    if (data.commit) answer({ failure: text(error) });
  });
}

/** @param {unknown} error */
function text(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {object} message */
function answer(message) {
  start.port.postMessage(message);
}

addEventListener("message", async ({ data }) => {
  if (data.stop) {
    // The worker that converts has been ended; what it sent before is not written any more.
    failure = new Error("stopped");
    await work;
    await abort();
    postMessage({ stopped: true });
    return;
  }
  start = data;
  start.port.onmessage = (event) => take(event.data);
});
