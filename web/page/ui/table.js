// The type of every tensor, to be changed one by one or all that a filter shows.

import { several, size } from "../format.js";
import { box, byId, el } from "./dom.js";
import * as settings from "./settings.js";

/** Rows that are made at once. */
const ROWS = 200;

/**
 * @typedef {object} Tensor as the plan has it
 * @property {string[]} ids
 * @property {string | null} source
 * @property {string} name
 * @property {number[]} shape
 * @property {string} type
 * @property {number} bytes
 * @property {string} by
 * @property {string} why
 */

/** @type {Tensor[]} */
let tensors = [];
/** @type {Tensor[]} */
let matching = [];
/** @type {string[]} */
let types = [];
let limit = ROWS;
let changed = () => {};

const body = /** @type {HTMLElement} */ (box("table").querySelector("tbody"));
const filter = byId("filter", HTMLInputElement);
const all = byId("set-all", HTMLSelectElement);

/** @param {any} formats @param {() => void} whenChanged */
export function init(formats, whenChanged) {
  offer(formats);
  changed = whenChanged;
  filter.addEventListener("input", () => {
    limit = ROWS;
    fill();
  });
  all.addEventListener("change", () => {
    for (const { ids } of matching) settings.edit(ids, all.value);
    all.value = "";
    changed();
  });
  box("reset-edits").addEventListener("click", () => {
    settings.resetEdits();
    changed();
    filter.focus();
  });
  box("show-more").addEventListener("click", () => {
    limit += ROWS;
    fill();
  });
  // Events of all rows in one place.
  body.addEventListener("change", ({ target }) => {
    if (!(target instanceof HTMLSelectElement)) return;
    const tensor = matching[Number(target.dataset.at)];
    settings.edit(tensor.ids, target.value);
    changed();
  });
  box("tensors").addEventListener("toggle", fill);
}

/** Fills lists of types. @param {any} formats */
export function offer(formats) {
  types = formats.types.map((/** @type {any} */ { name }) => name);
  all.replaceChildren(el("option", { value: "" }, "…"), ...options());
}

function options() {
  return types.map((name) => el("option", { value: name }, name));
}

/** @param {Tensor[]} planned */
export function show(planned) {
  tensors = planned;
  fill();
}

/** All words of the filter must occur somewhere. @param {Tensor} tensor @param {string[]} words */
function matches(tensor, words) {
  const text = `${tensor.name} ${tensor.source ?? ""} ${tensor.type} ${tensor.why}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function fill() {
  const edits = settings.editCount();
  box("edits").hidden = edits === 0;
  box("edits").textContent = `${edits} changed`;
  box("reset-edits").hidden = edits === 0;
  if (!byId("tensors", HTMLDetailsElement).open) return;
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  matching = tensors.filter((tensor) => matches(tensor, words));
  const bytes = matching.reduce((sum, tensor) => sum + tensor.bytes, 0);
  box("shown").textContent = `${several(matching.length, "tensor")}, ${size(bytes)}`;
  // Rows are made anew; whoever was in one stays there.
  const focused = document.activeElement instanceof HTMLSelectElement
    ? document.activeElement.dataset.name : undefined;
  body.replaceChildren(...matching.slice(0, limit).map(row));
  box("show-more").hidden = matching.length <= limit;
  if (focused) {
    /** @type {HTMLElement | null} */ (body.querySelector(`[data-name="${CSS.escape(focused)}"]`))?.focus();
  }
}

/** @param {Tensor} tensor @param {number} at */
function row(tensor, at) {
  const { name, shape, type, bytes, why, ids } = tensor;
  /** @type {Node | string} */
  let choice = type;
  if (ids.length) {
    const select = el("select", { "aria-label": `Type of ${name}`, "data-at": String(at), "data-name": name },
      ...options());
    if (!types.includes(type)) select.append(el("option", { value: type }, type));
    select.value = type;
    choice = select;
  }
  return el("tr", settings.isEdited(ids) ? { class: "edited" } : {},
    el("th", { scope: "row" }, name),
    el("td", { class: "num" }, shape.join(" × ")),
    el("td", {}, choice),
    el("td", { class: "num" }, size(bytes)),
    el("td", { class: "why" }, why.replaceAll("`", "")));
}
