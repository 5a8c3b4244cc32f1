// Where bytes go: a tar file in the browser's own storage, or straight to the user's disk. The methods
// are those that `web/src/host.rs` calls.

import { BLOCK, header, headerLength, padding } from "./tar.js";

/** @typedef {import("./tar.js").Entry} Entry */

/** What to tell when there is no room. */
export function full() {
  return Object.assign(new Error("the storage that the browser gives to this page is full"), {
    hint: "free disk space, or use a browser that can write to a file of yours (Chrome, Edge)",
  });
}

/** Writes a tar file. */
export class TarSink {
  /**
   * @param {FileSystemSyncAccessHandle} handle an empty file
   * @param {string} folder what paths begin with, with `/`, or nothing
   */
  constructor(handle, folder) {
    this.handle = handle;
    this.folder = folder;
    this.end = 0;
    /** @type {Entry[]} */
    this.entries = [];
  }

  /** @param {string} name */
  begin(name) {
    // The header follows when the length is known.
    this.end += headerLength(this.folder + name);
    this.entries.push({ name: this.folder + name, start: this.end, length: 0 });
  }

  /** @param {Uint8Array} bytes */
  append(bytes) {
    this.write(bytes, this.end);
    this.end += bytes.length;
  }

  finish() {
    const entry = this.entries[this.entries.length - 1];
    entry.length = this.end - entry.start;
    this.write(header(entry.name, entry.length), entry.start - headerLength(entry.name));
    this.append(new Uint8Array(padding(entry.length)));
  }

  /** Ends the tar file. */
  close() {
    this.append(new Uint8Array(2 * BLOCK));
    this.handle.flush();
  }

  /** @param {Uint8Array} bytes @param {number} at */
  write(bytes, at) {
    let written = 0;
    try {
      written = this.handle.write(bytes, { at });
    } catch (error) {
      throw error instanceof DOMException && error.name === "QuotaExceededError" ? full() : error;
    }
    if (written !== bytes.length) throw full();
  }
}

/** Pieces on their way to the disk. Few, since each is some megabytes. */
const WAITING = 6;

/** Places in the shared numbers between this worker and `writer.js`. */
export const SENT = 0, WRITTEN = 1, FAILED = 2;

/** Hands pieces to a worker that writes them; waits for it, so that they do not pile up. */
export class DiskSink {
  /** @param {MessagePort} writer @param {Int32Array<SharedArrayBuffer>} shared */
  constructor(writer, shared) {
    this.writer = writer;
    this.shared = shared;
    /** @type {Entry[]} */
    this.entries = [];
  }

  /** @param {string} name */
  begin(name) {
    this.entries.push({ name, start: 0, length: 0 });
    this.writer.postMessage({ begin: name });
  }

  /** @param {Uint8Array} bytes */
  append(bytes) {
    const copy = new Uint8Array(bytes.length);
    copy.set(bytes);
    this.entries[this.entries.length - 1].length += copy.length;
    const sent = Atomics.add(this.shared, SENT, 1) + 1;
    this.writer.postMessage({ append: copy }, [copy.buffer]);
    for (;;) {
      if (Atomics.load(this.shared, FAILED)) throw new Error("the file cannot be written");
      const written = Atomics.load(this.shared, WRITTEN);
      // Counters wrap around, their difference does not.
      if (((sent - written) | 0) <= WAITING) return;
      Atomics.wait(this.shared, WRITTEN, written);
    }
  }

  finish() {
    this.writer.postMessage({ finish: true });
  }
}
