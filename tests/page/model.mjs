// Llamas of any size, with weights that take no room on disk where they are zero.

import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
import { TRAINED } from "./cli.mjs";

/** Bytes of one tensor that are random; the rest, if it has more, is zero. */
const RANDOM = 96 << 20;

/**
 * Writes a model in F32 without tokenizer; answers the bytes of its weights.
 * `size` has `hidden`, `inner`, `layers` and `vocab`.
 */
export function write(dir, { hidden, inner, layers, vocab }) {
  mkdirSync(dir, { recursive: true });
  const config = JSON.parse(readFileSync(path.join(TRAINED, "config.json")));
  const heads = hidden / 128;
  Object.assign(config, {
    hidden_size: hidden, intermediate_size: inner, num_hidden_layers: layers, vocab_size: vocab,
    num_attention_heads: heads, num_key_value_heads: heads, head_dim: 128, tie_word_embeddings: false,
  });
  writeFileSync(path.join(dir, "config.json"), JSON.stringify(config));

  const shapes = { "model.embed_tokens.weight": [vocab, hidden] };
  for (let layer = 0; layer < layers; layer += 1) {
    const at = `model.layers.${layer}.`;
    for (const name of ["q", "k", "v", "o"]) shapes[`${at}self_attn.${name}_proj.weight`] = [hidden, hidden];
    for (const name of ["gate", "up"]) shapes[`${at}mlp.${name}_proj.weight`] = [inner, hidden];
    shapes[`${at}mlp.down_proj.weight`] = [hidden, inner];
    for (const name of ["input", "post_attention"]) shapes[`${at}${name}_layernorm.weight`] = [hidden];
  }
  Object.assign(shapes, { "model.norm.weight": [hidden], "lm_head.weight": [vocab, hidden] });
  const header = {};
  let end = 0;
  for (const [name, shape] of Object.entries(shapes)) {
    const bytes = 4 * shape.reduce((product, dim) => product * dim, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(path.join(dir, "model.safetensors"), "w");
  writeSync(file, Buffer.concat([length, text]));
  const start = 8 + text.length;
  ftruncateSync(file, start + end);
  const noise = weights(1 << 20);
  for (const { data_offsets: [from, to] } of Object.values(header)) {
    for (let done = 0; done < Math.min(to - from, RANDOM); done += noise.length) {
      writeSync(file, noise, 0, Math.min(noise.length, to - from - done), start + from + done);
    }
  }
  closeSync(file);
  return end;
}

/** Bell-shaped weights, always the same. */
function weights(count) {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const values = new Float32Array(count);
  for (let at = 0; at < count; at += 1) values[at] = 0.04 * (next() + next() + next() - 1.5);
  return Buffer.from(values.buffer);
}
