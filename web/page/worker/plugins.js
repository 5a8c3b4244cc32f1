// Instances of plugins, in the worker that works on the rows: that of the module, or one of its threads.
// The methods are those that `web/src/plugin.rs` calls.

/** Modules that this worker has compiled, by number and pages of memory. @type {Map<string, WebAssembly.Module>} */
const modules = new Map();

/** @typedef {{plugin: number, seconds: number}} Call a call that is under way, and what it may take */

/** @type {((call: Call | undefined) => void) | undefined} */
let tell;

/** Has every call told, before and after, where the page cannot look. @param {typeof tell} teller */
export function tellCalls(teller) {
  tell = teller;
}

/** @param {number} number @param {number} pages */
export function hasModule(number, pages) {
  return modules.has(`${number} ${pages}`);
}

/** @param {number} number @param {number} pages @param {Uint8Array} wasm */
export function addModule(number, pages, wasm) {
  // A copy: shared memory cannot be compiled.
  modules.set(`${number} ${pages}`, new WebAssembly.Module(wasm.slice()));
}

export class Instance {
  /** @param {number} number @param {number} pages @param {number} seconds what setting it up may take */
  constructor(number, pages, seconds) {
    this.number = number;
    const module = /** @type {WebAssembly.Module} */ (modules.get(`${number} ${pages}`));
    this.exports = this.watched(seconds, () => new WebAssembly.Instance(module, {}).exports);
    this.grown = /** @type {WebAssembly.Memory} */ (this.exports.memory);
  }

  /** Bytes of its memory. */
  memory() {
    return this.grown.buffer.byteLength;
  }

  /** @param {string} name @param {Uint32Array} numbers @param {number} seconds */
  call(name, numbers, seconds) {
    const run = /** @type {(...numbers: number[]) => number} */ (this.exports[name]);
    return this.watched(seconds, () => run(...numbers)) >>> 0;
  }

  /** @param {number} at @param {Uint8Array} bytes */
  write(at, bytes) {
    new Uint8Array(this.grown.buffer, at, bytes.length).set(bytes);
  }

  /** @param {number} at @param {Uint8Array} out */
  read(at, out) {
    out.set(new Uint8Array(this.grown.buffer, at, out.length));
  }

  /**
   * @template T
   * @param {number} seconds
   * @param {() => T} work
   */
  watched(seconds, work) {
    tell?.({ plugin: this.number, seconds });
    try {
      return work();
    } finally {
      tell?.(undefined);
    }
  }
}
