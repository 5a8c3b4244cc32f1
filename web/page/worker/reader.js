// Reads files for the worker that converts, which waits meanwhile. Read there, with `FileReaderSync`,
// pieces would pile up to a gigabyte, since that worker never returns to its event loop, where most of
// collecting garbage is done.

import { BYTES, FAILED, LENGTH, READ, STATE } from "./shared.js";

/** @type {Map<number, File>} */
const files = new Map();

/** @param {SharedArrayBuffer} shared @param {any} data */
async function handle(shared, data) {
  if (data.file) {
    files.set(data.id, data.file);
    return;
  }
  const numbers = new Int32Array(shared, 0, 2);
  let state = READ;
  /** @type {Uint8Array} */
  let bytes;
  try {
    const file = /** @type {File} */ (files.get(data.id));
    const piece = await file.slice(data.offset, data.offset + data.length).arrayBuffer();
    bytes = new Uint8Array(piece);
  } catch (error) {
    state = FAILED;
    const { name, message } = /** @type {Error} */ (error);
    bytes = new TextEncoder().encode(JSON.stringify({ name, message }));
  }
  new Uint8Array(shared, BYTES).set(bytes);
  Atomics.store(numbers, LENGTH, bytes.length);
  Atomics.store(numbers, STATE, state);
  Atomics.notify(numbers, STATE);
}

addEventListener("message", ({ data: { port, shared } }) => {
  /** @type {MessagePort} */ (port).onmessage = ({ data }) => handle(shared, data);
});
