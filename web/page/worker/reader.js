// Reads files for the worker that converts, which waits meanwhile. Read there, with `FileReaderSync`,
// pieces would pile up to a gigabyte, since that worker never returns to its event loop, where most of
// collecting garbage is done. What is read goes straight to where it is wanted, in shared memory.

import { BYTES, FAILED, LENGTH, PIECE, READ, STATE } from "./shared.js";

/** Bytes of the buffer that is used again and again. */
const CHUNK = 1 << 20;

/** Streams that are open at a time; each holds some memory of the browser. */
const STREAMS = 4;

/** A file, read piece by piece; from front to back as a stream, which takes half of the time. */
class Source {
  /** @param {File} file */
  constructor(file) {
    this.file = file;
    /** Where the last piece ended. */
    this.end = -1;
    /** What comes from there on, if somebody wanted it. @type {ReadableStreamBYOBReader | undefined} */
    this.stream = undefined;
    /** @type {ArrayBuffer} */
    this.buffer = new ArrayBuffer(0);
  }

  /** @param {number} offset @param {Uint8Array} into */
  async read(offset, into) {
    if (offset !== this.end) this.close();
    else if (!this.stream) this.open(offset);
    let done = 0;
    try {
      done = await this.streamed(into);
    } catch {
      // Read once more below, where errors have names.
    }
    if (done < into.length) {
      this.close();
      done += await this.plain(offset + done, into.subarray(done));
    }
    this.end = offset + done;
    return done;
  }

  /** @param {number} offset */
  open(offset) {
    const [longest] = streams;
    if (streams.size >= STREAMS) longest.close();
    try {
      this.stream = this.file.slice(offset).stream().getReader({ mode: "byob" });
      this.buffer = new ArrayBuffer(CHUNK);
      streams.add(this);
    } catch {
      // A browser that has no such streams.
    }
  }

  close() {
    this.stream?.cancel().catch(() => {});
    this.stream = undefined;
    streams.delete(this);
  }

  /** @param {Uint8Array} into */
  async streamed(into) {
    let done = 0;
    while (this.stream && done < into.length) {
      const wanted = Math.min(CHUNK, into.length - done);
      const { value, done: ended } = await this.stream.read(new Uint8Array(this.buffer, 0, wanted));
      if (ended || !value) break;
      into.set(value, done);
      done += value.length;
      this.buffer = value.buffer;
    }
    return done;
  }

  /** @param {number} offset @param {Uint8Array} into */
  async plain(offset, into) {
    let done = 0;
    while (done < into.length) {
      const end = offset + Math.min(done + PIECE, into.length);
      const piece = await this.file.slice(offset + done, end).arrayBuffer();
      if (!piece.byteLength) break;
      into.set(new Uint8Array(piece), done);
      done += piece.byteLength;
    }
    return done;
  }
}

/** @type {Map<number, Source>} */
const sources = new Map();
/** Those with an open stream, the one longest open first. @type {Set<Source>} */
const streams = new Set();

/**
 * @typedef {object} Request
 * @property {number} id of the file
 * @property {File} [file] a new one, to be read later
 * @property {number} offset
 * @property {number} length
 * @property {SharedArrayBuffer} [buffer] where bytes go, if not beside the numbers
 * @property {number} [at] where in it
 */

/** @param {SharedArrayBuffer} shared @param {Request} request */
async function handle(shared, { id, file, offset, length, buffer, at }) {
  if (file) {
    sources.set(id, new Source(file));
    return;
  }
  const numbers = new Int32Array(shared, 0, 2);
  let state = READ;
  try {
    const into = buffer ? new Uint8Array(buffer, at, length) : new Uint8Array(shared, BYTES, length);
    length = await /** @type {Source} */ (sources.get(id)).read(offset, into);
  } catch (error) {
    state = FAILED;
    const { name, message } = /** @type {Error} */ (error);
    const text = new TextEncoder().encode(JSON.stringify({ name, message })).slice(0, PIECE);
    new Uint8Array(shared, BYTES).set(text);
    length = text.length;
  }
  Atomics.store(numbers, LENGTH, length);
  Atomics.store(numbers, STATE, state);
  Atomics.notify(numbers, STATE);
}

addEventListener("message", ({ data: { port, shared } }) => {
  /** @type {MessagePort} */ (port).onmessage = ({ data }) => handle(shared, data);
});
