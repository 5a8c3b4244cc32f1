// Headers of tar files (POSIX ustar; sizes from 8 GiB on in base 256, as GNU tar writes them; names that
// are too long for it in a pax header before). Every output is one such file in the browser's own storage: it holds any number of files, is written from
// front to back by one handle, and a store can be saved as it is.

export const BLOCK = 512;

/** The kind of a pax header, and bytes that it has at most. */
const PAX = 0x78, LONGEST = 1 << 20;

/** @typedef {{name: string, start: number, length: number}} Entry a file in a tar file */

/** Bytes of a name that a header has room for. */
const NAME = 99;

/** @param {string} text */
function encoded(text) {
  return new TextEncoder().encode(text);
}

/** Bytes of all headers of a file. @param {string} name */
export function headerLength(name) {
  return encoded(name).length > NAME ? 3 * BLOCK : BLOCK;
}

/**
 * The headers of a file.
 * @param {string} name path, with `/`
 * @param {number} length bytes
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function header(name, length) {
  const bytes = encoded(name);
  if (bytes.length <= NAME) return block(bytes, length, "0");
  // "LENGTH path=NAME\n", where LENGTH is that of all of it.
  const rest = bytes.length + " path=\n".length;
  const digits = String(rest + String(rest).length).length;
  const record = encoded(`${rest + digits} path=${name}\n`);
  if (record.length > BLOCK) throw new Error(`the name ${name} is too long`);
  const all = new Uint8Array(3 * BLOCK);
  all.set(block(encoded("name"), record.length, "x"));
  all.set(record, BLOCK);
  all.set(block(bytes.slice(0, NAME), length, "0"), 2 * BLOCK);
  return all;
}

/** @param {Uint8Array} name @param {number} length @param {string} kind */
function block(name, length, kind) {
  const block = new Uint8Array(BLOCK);
  const text = (/** @type {number} */ at, /** @type {string} */ value) => block.set(encoded(value), at);
  block.set(name, 0);
  text(100, "0000644\0");
  text(108, "0000000\0");
  text(116, "0000000\0");
  if (length < 8 ** 11) {
    text(124, `${length.toString(8).padStart(11, "0")}\0`);
  } else {
    block[124] = 0x80;
    for (let at = 135, rest = length; rest > 0; at -= 1, rest = Math.floor(rest / 256)) {
      block[at] = rest % 256;
    }
  }
  text(136, "00000000000\0");
  text(148, "        ");
  text(156, kind);
  text(257, "ustar\x0000");
  const sum = block.reduce((total, byte) => total + byte, 0);
  text(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
}

/** Bytes that fill up the last block of a file. @param {number} length */
export function padding(length) {
  return (BLOCK - (length % BLOCK)) % BLOCK;
}

/**
 * The files in a tar file.
 * @param {number} length bytes of the tar file
 * @param {(offset: number, length: number) => Uint8Array} read
 * @returns {Entry[]}
 */
export function entries(length, read) {
  const found = [];
  let at = 0;
  /** The name in a pax header, for the file that follows. @type {string | undefined} */
  let named;
  while (at + BLOCK <= length) {
    const block = read(at, BLOCK);
    if (block.every((byte) => byte === 0)) break;
    const text = (/** @type {number} */ from, /** @type {number} */ most) => {
      const field = block.slice(from, from + most);
      const end = field.indexOf(0);
      return new TextDecoder().decode(end < 0 ? field : field.slice(0, end));
    };
    if (text(257, 5) !== "ustar") throw new Error("this is not a tar file");
    const size = block[124] & 0x80
      ? block.slice(125, 136).reduce((total, byte) => total * 256 + byte, 0)
      : parseInt(text(124, 12), 8);
    const start = at + BLOCK;
    if (!(size >= 0) || start + size > length) throw new Error("the tar file is cut off");
    const prefix = text(345, 155);
    const kind = block[156];
    if (kind === 0 || kind === 0x30) {
      const name = named ?? (prefix ? `${prefix}/${text(0, 100)}` : text(0, 100));
      found.push({ name: name.replace(/^\.\//, ""), start, length: size });
    }
    named = kind === PAX && size < LONGEST ? pathOf(read(start, size)) : undefined;
    at = start + size + padding(size);
  }
  return found;
}

/** The name in a pax header: records "LENGTH KEY=VALUE\n". @param {Uint8Array} bytes */
function pathOf(bytes) {
  for (let at = 0; at < bytes.length;) {
    const length = parseInt(new TextDecoder().decode(bytes.slice(at, at + 8)), 10);
    if (!(length > 0)) return undefined;
    const record = new TextDecoder().decode(bytes.slice(at, at + length - 1));
    const [, key, value] = /^\d+ ([^=]*)=([^]*)$/.exec(record) ?? [];
    if (key === "path") return value;
    at += length;
  }
  return undefined;
}
