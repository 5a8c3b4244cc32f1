// Problems and notes, in words.

import { box, el, marked } from "./dom.js";
import { Refusal } from "../client.js";

/** @typedef {import("../client.js").Problem} Problem */

/** What the core calls by its option of the command line has another name here. */
const NAMES = /** @type {[RegExp, string][]} */ ([
  [/`?(?:add )?--no-tokenizer`?/g, "choose “Do without tokenizer”"],
  [/`?--block-format raw`?/g, "the store format `raw`"],
  [/`?--block-format`?/g, "“Store format”"],
  [/`?(?:add )?--allow-unweighted`?/g, "allow types to do without importance"],
  [/`?--imatrix`?(?: FILE)?/g, "“Importance matrix”"],
  [/`?--arch`?(?: NAME)?/g, "“Architecture”"],
  [/`?--pre`?(?: NAME)?/g, "“Pre-tokenizer”"],
  [/add --shard-size (\d+\.\d+)/g, "set “Split into files of at most” to $1 GB"],
  [/`?(?:add )?--shard-size`?/g, "“Split into files of at most”"],
  [/put it into a folder `plugins` here, or name its folder with --plugin-dir/g, "drop its `.wasm` file onto this page"],
  [/`?(?:add )?--allow-custom-types`?/g, "allow types that only runtimes of your own load"],
  [/give the folder of the base with `?--base`?/g, "choose the folder of the base"],
  [/`?--base`? tells where it is now/g, "choose it where it is now"],
  [/`?--format`? /g, "“Format” "],
  [/`?--scale-optimization`?/g, "“Scales”"],
  [/`?--type`?/g, "“Type”"],
]);

/** @param {string} text */
export function here(text) {
  return NAMES.reduce((said, [option, name]) => said.replace(option, name), text);
}

const TITLES = /** @type {Record<string, string>} */ ({
  io: "A file could not be read or written",
  malformed: "The model is damaged",
  unsupported: "This is not supported",
  limit: "This is too large",
  config: "These settings do not fit",
  shape: "Shapes do not fit",
  plugin: "A plugin does not work",
  internal: "Something went wrong",
});

/**
 * Shows a problem: what happened, where, and what can be done.
 * @param {string} id of the element that it is shown in
 * @param {unknown} error
 */
export function show(id, error) {
  const problem = error instanceof Refusal ? error.problem : internal(error);
  const { chain } = problem;
  const at = problem.message === undefined ? chain.length - 1 : chain.lastIndexOf(problem.message);
  // Where it happened stands before the message, what the system said of it behind.
  const said = chain.slice(Math.max(at, 0)).filter(Boolean).join(": ");
  const places = chain.slice(0, Math.max(at, 0)).reverse();
  const notice = el("div", { class: "notice bad", role: "alert" },
    el("strong", {}, TITLES[problem.kind] ?? "This did not work"),
    el("p", {}, ...marked(here(said))));
  if (places.length) {
    notice.append(el("ul", {}, ...places.map((place) => el("li", {}, ...marked(place)))));
  }
  if (problem.hint) notice.append(el("p", { class: "fix" }, "→ ", ...marked(here(problem.hint))));
  box(id).replaceChildren(notice);
}

/** @param {unknown} error @returns {Problem} */
function internal(error) {
  const text = error instanceof Error ? error.message : String(error);
  return { kind: "internal", chain: [text], hint: null };
}

/** @param {string} id */
export function clear(id) {
  box(id).replaceChildren();
}

/**
 * Warnings, and notes that are folded away if there are many.
 * @param {string} id
 * @param {string[]} warnings
 * @param {string[]} notes
 */
export function notes(id, warnings, notes) {
  const list = el("ul", { class: "plain" },
    ...notes.map((note) => el("li", {}, ...marked(here(note)))));
  const folded = notes.length > 3
    ? el("details", { class: "notes" }, el("summary", {}, `${notes.length} notes`), list)
    : list;
  box(id).replaceChildren(
    ...warnings.map((text) => el("p", { class: "notice warn" }, ...marked(here(text)))),
    ...(notes.length ? [folded] : []));
}
