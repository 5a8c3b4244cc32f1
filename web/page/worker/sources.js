// Where bytes come from: files that the user picked, or a tar file. All reading is synchronous, which
// only workers may do. The methods are those that `web/src/host.rs` calls.

import { BYTES, IDLE, LENGTH, PIECE, READ, STATE } from "./shared.js";
import { entries } from "./tar.js";

/**
 * @typedef {object} Region bytes of a file
 * @property {number} length
 * @property {(offset: number, into: Uint8Array) => void} read
 */

/**
 * The worker that reads for this one, if memory can be shared with it.
 * @typedef {{port: MessagePort, shared: SharedArrayBuffer}} Reader
 */

/** @type {Reader | undefined} */
let reader;
let files = 0;

/** @param {Reader | undefined} given */
export function useReader(given) {
  reader = given;
}

/** Look at files that were read, each at its own. @type {Set<() => void>} */
const looks = new Set();

/** Begins work whose files must not change. */
export function remember() {
  looks.clear();
}

/** Whether files that were read since are what they were: browsers notice that when they begin to read. */
export function lookAgain() {
  for (const look of looks) look();
}

/** A file that was picked. @param {File} file @returns {Region} */
function ofFile(file) {
  const read = reader ? readElsewhere(reader, file) : readHere(file);
  const look = () => file.size && read(file.size - 1, new Uint8Array(1));
  return {
    length: file.size,
    read(offset, into) {
      looks.add(look);
      if (read(offset, into) !== into.length) throw unreadable(new Error("the file has become shorter"));
    },
  };
}

/**
 * A file that another worker reads.
 * @param {Reader} reader
 * @param {File} file
 */
function readElsewhere({ port, shared }, file) {
  const id = ++files;
  const numbers = new Int32Array(shared, 0, 2);
  port.postMessage({ id, file });
  const ask = (/** @type {object} */ request) => {
    Atomics.store(numbers, STATE, IDLE);
    port.postMessage({ id, ...request });
    Atomics.wait(numbers, STATE, IDLE);
    const length = Atomics.load(numbers, LENGTH);
    if (Atomics.load(numbers, STATE) === READ) return length;
    // Texts are not decoded from shared memory.
    const text = new Uint8Array(shared, BYTES, length).slice();
    const { name, message } = JSON.parse(new TextDecoder().decode(text));
    throw unreadable(new DOMException(message, name));
  };
  return (/** @type {number} */ offset, /** @type {Uint8Array} */ into) => {
    const { buffer, byteOffset: at, length } = into;
    if (buffer instanceof SharedArrayBuffer) return ask({ offset, length, buffer, at });
    let done = 0;
    while (done < length) {
      const read = ask({ offset: offset + done, length: Math.min(PIECE, length - done) });
      if (!read) break;
      into.set(new Uint8Array(shared, BYTES, read), done);
      done += read;
    }
    return done;
  };
}

/** A file that this worker reads. @param {File} file */
function readHere(file) {
  const reader = new FileReaderSync();
  return (/** @type {number} */ offset, /** @type {Uint8Array} */ into) => {
    let done = 0;
    try {
      while (done < into.length) {
        const end = offset + Math.min(done + PIECE, into.length);
        const piece = reader.readAsArrayBuffer(file.slice(offset + done, end));
        // Moved away, the memory is collected sooner. (`transfer(0)` would hide it from the collector.)
        const bytes = new Uint8Array(structuredClone(piece, { transfer: [piece] }));
        if (!bytes.length) break;
        into.set(bytes, done);
        done += bytes.length;
      }
    } catch (error) {
      throw unreadable(error);
    }
    return done;
  };
}

/** @param {unknown} error */
function unreadable(error) {
  const name = error instanceof DOMException ? error.name : "";
  const text = error instanceof Error ? error.message : String(error);
  return Object.assign(new Error(text), {
    hint: name === "NotReadableError" || name === "NotFoundError"
      ? "the file was changed, moved or locked since it was picked: pick it again"
      : undefined,
  });
}

/**
 * A file in the browser's own storage.
 * @param {FileSystemSyncAccessHandle} handle
 * @param {number} start
 * @param {number} length
 * @returns {Region}
 */
function ofHandle(handle, start, length) {
  return {
    length,
    read(offset, into) {
      if (handle.read(into, { at: start + offset }) !== into.length) {
        throw new Error("the browser's storage has lost bytes");
      }
    },
  };
}

/** A folder. */
export class Files {
  /**
   * @param {string} title how messages call it
   * @param {Map<string, Region>} regions by path
   */
  constructor(title, regions) {
    this.title = title;
    this.regions = regions;
  }

  /** Names of files in a folder, not those in folders within. @param {string} folder */
  names(folder) {
    const prefix = folder ? `${folder.replace(/\/+$/, "")}/` : "";
    const paths = [...this.regions.keys()].filter((path) => path.startsWith(prefix));
    return paths.map((path) => path.slice(prefix.length)).filter((name) => !name.includes("/"));
  }

  /** @param {string} name */
  region(name) {
    return this.regions.get(name.replace(/\/{2,}/g, "/"));
  }

  /** @param {string} name */
  lengthOf(name) {
    return this.region(name)?.length ?? -1;
  }

  /** @param {string} name @param {number} offset @param {Uint8Array} into */
  read(name, offset, into) {
    const region = this.region(name);
    if (!region) throw new Error("there is no such file");
    if (offset + into.length > region.length) throw new Error("the file is shorter than it was");
    region.read(offset, into);
  }

  /** @param {string} name */
  place(name) {
    return [this.title, name].filter(Boolean).join("/");
  }
}

/** @typedef {{path: string, file: File}} Picked a file and its path below what was picked */

/**
 * Files that the user picked.
 * @param {string} title
 * @param {Picked[]} picked
 */
export function ofPicked(title, picked) {
  const only = picked.length === 1 ? picked[0].file : undefined;
  if (only && /\.tar$/i.test(only.name)) return ofTar(only.name, ofFile(only));
  const regions = new Map(picked.map(({ path, file }) => [path, ofFile(file)]));
  return new Files(title, store(regions));
}

/** A tar file that is being read. @param {string} title @param {Region} tar */
function ofTar(title, tar) {
  const read = (/** @type {number} */ offset, /** @type {number} */ length) => {
    const bytes = new Uint8Array(length);
    tar.read(offset, bytes);
    return bytes;
  };
  const regions = new Map();
  for (const { name, start, length } of entries(tar.length, read)) {
    regions.set(name, {
      length,
      read: (/** @type {number} */ offset, /** @type {Uint8Array} */ into) =>
        tar.read(start + offset, into),
    });
  }
  return new Files(title, store(regions));
}

/** A tar file in the browser's own storage. @param {FileSystemSyncAccessHandle} handle */
export function ofStored(handle) {
  return ofTar("model.gmat", ofHandle(handle, 0, handle.getSize()));
}

/**
 * The store in a folder, if there is one a level below, as `gmat export --model` takes it.
 * @param {Map<string, Region>} regions
 */
function store(regions) {
  const inner = "model.gmat/";
  if (regions.has("metadata.json") || !regions.has(`${inner}metadata.json`)) return regions;
  const inside = [...regions].filter(([path]) => path.startsWith(inner));
  return new Map(inside.map(([path, region]) => [path.slice(inner.length), region]));
}
