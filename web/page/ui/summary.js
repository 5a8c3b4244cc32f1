// What was picked, at a glance, and everything that headers say of it.

import { count, several, size } from "../format.js";
import { box, el, marked } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
/** Types with a colour of their own. */
const COLOURS = 5;
/** Rows of a table that are made at once. */
const ROWS = 400;

/** @param {any} contents of `gmat inspect --json` @param {string} title */
export function show(contents, title) {
  const { model, tokenizer, types } = contents;
  const bits = (8 * contents.bytes) / Math.max(1, contents.parameters);
  const heads = model.heads && (model.kv_heads && model.kv_heads !== model.heads
    ? `${model.heads} (${model.kv_heads} key/value)` : model.heads);
  const experts = model.experts && (model.experts_used
    ? `${model.experts}, ${model.experts_used} per token` : model.experts);
  const facts = /** @type {[string, any][]} */ ([
    ["Architecture", model.architecture ?? "unknown"],
    ["Parameters", count(contents.parameters)],
    ["Size", `${size(contents.file_bytes)}, ${bits.toFixed(1)} bits`],
    ["Tensors", contents.tensors.length.toLocaleString("en")],
    ["Layers", model.layers], ["Width", model.embedding_length], ["Heads", heads],
    ["Experts", experts],
    ["Context", model.context_length && `${model.context_length.toLocaleString("en")} tokens`],
    ["Vocabulary", model.vocab_size && `${model.vocab_size.toLocaleString("en")} tokens`],
    ["Tokenizer", tokenizer ? [tokenizer.model, tokenizer.pre].filter(Boolean).join(", ") : "none"],
  ]);
  const known = facts.filter(([, value]) => value !== null && value !== undefined && value !== 0);
  const files = contents.files.length;
  const format = files > 1 ? `${contents.format}, ${files} files` : contents.format;
  const summary = el("div", { class: "summary" },
    el("p", { class: "title" }, el("strong", {}, model.name ?? title), el("span", { class: "muted" }, format)),
    el("dl", { class: "facts" },
      ...known.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))))),
    mix(types, contents.parameters));
  for (const warning of contents.warnings) {
    summary.append(el("p", { class: "notice warn" }, ...marked(warning)));
  }
  box("summary").replaceChildren(summary, details(contents));
  box("summary").hidden = false;
}

/** Shares of types as a bar. @param {any[]} types @param {number} all */
function mix(types, all) {
  const shown = types.slice(0, types.length > COLOURS + 1 ? COLOURS : COLOURS + 1);
  const rest = types.slice(shown.length).reduce((sum, type) => sum + type.parameters, 0);
  const parts = shown.map(({ type, parameters }) => ({ type, parameters }));
  if (rest) parts.push({ type: "others", parameters: rest });
  const bar = document.createElementNS(SVG, "svg");
  bar.setAttribute("class", "bar");
  bar.setAttribute("viewBox", "0 0 100 10");
  bar.setAttribute("preserveAspectRatio", "none");
  bar.setAttribute("aria-hidden", "true");
  let x = 0;
  parts.forEach(({ parameters }, at) => {
    const width = (100 * parameters) / Math.max(1, all);
    const part = document.createElementNS(SVG, "rect");
    part.setAttribute("class", `c${at}`);
    part.setAttribute("x", String(x));
    part.setAttribute("width", String(width));
    part.setAttribute("height", "10");
    bar.append(part);
    x += width;
  });
  const percent = (/** @type {number} */ share) =>
    share > 0 && share < 0.1 ? "< 0.1 %" : `${share.toFixed(1)} %`;
  const legend = parts.map(({ type, parameters }, at) =>
    el("li", { class: `c${at}` }, `${type} ${percent((100 * parameters) / Math.max(1, all))}`));
  return el("div", {}, /** @type {any} */ (bar), el("ul", { class: "legend" }, ...legend));
}

/** Tables of tensors and keys. @param {any} contents */
function details(contents) {
  const folded = el("details", {}, el("summary", {}, "Tensors and metadata"));
  // Made when they are wanted: there may be many.
  folded.addEventListener("toggle", () => {
    if (folded.childElementCount > 1) return;
    const keys = Object.entries(contents.metadata);
    if (keys.length) {
      folded.append(el("h3", {}, "Metadata"), table("Metadata", ["Key", "Value"],
        keys.map(([key, value]) => [key, short(value)])));
    }
    const row = (/** @type {any} */ tensor) => [
      tensor.name,
      tensor.shape.join(" × "),
      tensor.block_format ? `${tensor.dtype} as ${tensor.block_format}` : tensor.dtype ?? tensor.type,
      tensor.bytes === null ? "" : size(tensor.bytes),
    ];
    folded.append(el("h3", {}, several(contents.tensors.length, "tensor")),
      table("Tensors", ["Name", "Shape", "Type", "Size"], contents.tensors.map(row)));
  });
  return folded;
}

/** @param {unknown} value */
function short(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

/** @param {string} label @param {string[]} heads @param {string[][]} rows */
function table(label, heads, rows) {
  const body = el("tbody");
  const more = () => {
    const from = body.childElementCount;
    body.append(...rows.slice(from, from + ROWS).map(([first, ...others]) =>
      el("tr", {}, el("th", { scope: "row" }, first), ...others.map((text) => el("td", {}, text)))));
  };
  more();
  const scroll = el("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" },
    el("table", {},
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), body));
  // The rest as it is scrolled to.
  scroll.addEventListener("scroll", () => {
    if (scroll.scrollTop + scroll.clientHeight > scroll.scrollHeight - 400) more();
  });
  return scroll;
}
