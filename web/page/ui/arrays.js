// Arrays for NumPy and JAX: the form.

import { parseSize } from "../format.js";
import { byId, el } from "./dom.js";

const container = byId("container", HTMLSelectElement);
const precision = byId("precision", HTMLSelectElement);
const mxfp4 = byId("mxfp4", HTMLSelectElement);
const folder = byId("folder-name", HTMLInputElement);
const shard = byId("shard", HTMLInputElement);

/** The format that is offered first. */
const FIRST = "numpy-direct";

/** @param {any} formats @param {() => void} changed */
export function init(formats, changed) {
  container.replaceChildren(...formats.containers.map((/** @type {any} */ { name, title }) =>
    el("option", { value: name }, `${name} · ${title}`)));
  container.value = FIRST;
  for (const field of [container, precision, mxfp4]) field.addEventListener("change", changed);
  folder.addEventListener("input", changed);
}

/** Suits a model that was picked. @param {string} name its own, fit for files */
export function adopt(name) {
  container.value = FIRST;
  precision.value = "float16";
  mxfp4.value = "decode";
  folder.value = `${name}-jax`;
}

/** Name of the folder that is made. */
export function name() {
  return folder.value.trim() || "model-jax";
}

/** Options as the worker takes them. */
export function options() {
  const bytes = parseSize(shard.value);
  return {
    format: container.value,
    precision: precision.value,
    mxfp4: mxfp4.value,
    ...(bytes && { shardSize: bytes }),
  };
}
