// Opens and commits outputs, which is asynchronous; what is written between is not.

import * as disk from "./disk.js";
import { DiskSink, TarSink } from "./sinks.js";

/** @typedef {import("./tar.js").Entry} Entry */

/**
 * @typedef {object} Target where an output goes
 * @property {"browser" | "disk"} to
 * @property {MessagePort} [port] to the worker that writes to the user's disk
 * @property {Int32Array<SharedArrayBuffer>} [shared] counters of both
 */

/**
 * @typedef {object} Written an output that is complete
 * @property {string} [stored] name of the tar file in the browser's storage
 * @property {Entry[]} entries
 */

/** An output in the making. */
export class Output {
  /** @param {TarSink | DiskSink} sink @param {() => Promise<Written>} commit @param {() => Promise<void>} abort */
  constructor(sink, commit, abort) {
    this.sink = sink;
    this.commit = commit;
    this.abort = abort;
  }
}

/**
 * A new tar file in the browser's storage.
 * @param {string} tab
 * @param {string} name
 * @param {string} folder what paths in it begin with
 */
export async function inBrowser(tab, name, folder) {
  await disk.remove(tab, name);
  const file = await (await disk.folder(tab)).getFileHandle(name, { create: true });
  const handle = await file.createSyncAccessHandle();
  const sink = new TarSink(handle, folder);
  const commit = async () => {
    try {
      sink.close();
    } finally {
      handle.close();
    }
    return { stored: name, entries: sink.entries };
  };
  const abort = async () => {
    handle.close();
    await disk.remove(tab, name);
  };
  return new Output(sink, commit, abort);
}

/** Files that the user chose. @param {Target} target */
export async function onDisk({ port, shared }) {
  if (!port || !shared) throw new Error("no file was chosen");
  const sink = new DiskSink(port, shared);
  const ask = (/** @type {object} */ message) =>
    new Promise((resolve, reject) => {
      port.onmessage = ({ data }) =>
        data.failure ? reject(refused(data.failure)) : resolve(data);
      port.postMessage(message);
    }).finally(() => port.close());
  const commit = async () => {
    await ask({ commit: true });
    return { entries: sink.entries };
  };
  return new Output(sink, commit, () => ask({ abort: true }).then(() => {}));
}

/** @param {string} text */
function refused(text) {
  return Object.assign(new Error(`the file cannot be written: ${text}`), {
    hint: "is there room on the disk, and may this page write there?",
  });
}
