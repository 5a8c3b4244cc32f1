// Modules of plugins as text: one that works, and what becomes of it with other functions.

import { Buffer } from "node:buffer";
import wabt from "wabt";

/** What plugins must not use either, so that it can be written down. */
const FEATURES = { relaxed_simd: true, threads: true, simd: true, bulk_memory: true };

export const DESCRIPTOR = {
  abi: 1, name: "bad", types: [{ name: "f32@bad", ggml_type: 0, block: [1, 4] }],
};

/** Copies rows as they are. */
export const COPY = "(memory.copy (local.get $dst) (local.get $src) (local.get $len)) (i32.const 0)";

/** Memory for everything that comes, from the first page on. */
const ALLOC = `(local $at i32)
  (local.set $at (global.get $free))
  (global.set $free (i32.and (i32.add (i32.add (local.get $at) (local.get 0)) (i32.const 15)) (i32.const -16)))
  (local.get $at)`;

/** A module in which `quantize` is the body of that function; all else can be other, too. */
export async function module(quantize, { descriptor = DESCRIPTOR, more = "", change = (text) => text } = {}) {
  const text = change(`(module
    (memory (export "memory") 64)
    (global $free (mut i32) (i32.const 1024))
    (func (export "gmat_abi") (result i32) (i32.const 1))
    (func (export "gmat_alloc") (param i32) (result i32) ${ALLOC})
    (func (export "gmat_error") (param i32 i32) (result i32)
      (i32.store (local.get 0) (i32.const 0x21796877)) (i32.const 4))
    (func $quantize (export "gmat_quantize") (param $index i32) (param $src i32) (param $rows i32)
      (param $cols i32) (param $importance i32) (param $dst i32) (param $len i32) (result i32)
      ${quantize})
    ${more})`);
  const parsed = (await wabt()).parseWat("bad.wat", text, FEATURES);
  const { buffer } = parsed.toBinary({});
  parsed.destroy();
  return Buffer.concat([buffer, section("gmat:plugin", JSON.stringify(descriptor))]);
}

/** A custom section. */
function section(name, text) {
  const content = Buffer.concat([Buffer.from([name.length]), Buffer.from(name), Buffer.from(text)]);
  // A length of at most 14 bits.
  const length = [content.length % 128 + 128, Math.floor(content.length / 128)];
  return Buffer.concat([Buffer.from([0, ...length]), content]);
}
