// What is to be made: the form, and the export config behind it.

import { parseSize } from "../format.js";
import * as arrays from "./arrays.js";
import { box, byId, el } from "./dom.js";

/** Values of the type that are no types. */
const RECOMMENDED = "recommended", KEEP = "keep";

const type = byId("type", HTMLSelectElement);
const scales = byId("scales", HTMLSelectElement);
const block = byId("block", HTMLSelectElement);
const arch = byId("arch", HTMLSelectElement);
const shard = byId("shard", HTMLInputElement);
const fileName = byId("file-name", HTMLInputElement);
const pre = byId("pre", HTMLInputElement);
const checks = {
  report: byId("report", HTMLInputElement),
  unweighted: byId("unweighted", HTMLInputElement),
  noTokenizer: byId("no-tokenizer", HTMLInputElement),
  customTypes: byId("custom-types", HTMLInputElement),
};

/** The config that was loaded, or an empty one; what the form says is put on top. @type {any} */
let config = {};
/** Types that were chosen in the table, by id. @type {Map<string, string>} */
const edits = new Map();
/** Whether the user gave the file a name. */
let named = false;
let base = "model";
/** What was picked: `safetensors`, `gguf` or `store`. */
let source = "safetensors";

/** Types that are taken when there is nothing else to go by. */
const TYPE = "q4_k_m", BLOCK = "B8x8";

/** Fills lists, and leaves chosen what still is there. @param {any} formats */
export function fill(formats) {
  const option = (/** @type {string} */ value, text = value) => el("option", { value }, text);
  const bits = (/** @type {any} */ { name, bits, needsImportance }) =>
    option(name, `${name} · ${Number(bits.toFixed(2))} bits${needsImportance ? ", needs importance" : ""}`);
  const forAll = formats.types.filter((/** @type {any} */ type) => type.forAll);
  const ours = forAll.filter((/** @type {any} */ type) => !type.plugin);
  const plugged = forAll.filter((/** @type {any} */ type) => type.plugin);
  const chosen = [type.value, block.value, arch.value];
  type.replaceChildren(
    option(RECOMMENDED, "recommended for each tensor"),
    option(KEEP, "keep what each tensor has"),
    el("optgroup", { label: "Mixtures, as llama-quantize makes them" },
      ...formats.recipes.map((/** @type {any} */ { name, base }) =>
        option(name, `${name} · mostly ${base}`))),
    el("optgroup", { label: "One type" }, ...ours.map(bits)),
    ...(plugged.length ? [el("optgroup", { label: "Of plugins" }, ...plugged.map(bits))] : []));
  block.replaceChildren(...formats.blocks.map((/** @type {any} */ { name }) => option(name)));
  arch.replaceChildren(option("", "that of the model"),
    ...formats.archs.map((/** @type {string} */ name) => option(name)));
  choose(type, chosen[0] || TYPE);
  choose(block, chosen[1] || BLOCK);
  choose(arch, chosen[2]);
  box("custom-choice").hidden = !plugged.some((/** @type {any} */ type) => type.custom);
}

/**
 * Chooses what may not be offered: the core knows what to say of it.
 * @param {HTMLSelectElement} list
 * @param {string} value
 */
function choose(list, value) {
  list.value = value;
  if (list.value === value) return;
  list.append(el("option", { value }, value));
  list.value = value;
}

/** Chooses something else in the place of what a plugin brought. @param {string} plugin */
export function forget(plugin) {
  const brought = (/** @type {string} */ name) => name.endsWith(`@${plugin}`);
  if (brought(type.value)) {
    type.value = TYPE;
    rename();
  }
  if (brought(block.value)) block.value = BLOCK;
  for (const [id, name] of edits) if (brought(name)) edits.delete(id);
}

/**
 * Fills the form; `changed` is called whenever the plan may change.
 * @param {any} formats
 * @param {(what: "plan" | "draft") => void} changed
 */
export function init(formats, changed) {
  fill(formats);
  type.addEventListener("change", () => {
    // As `--type` does: a choice for all replaces what a config says of some.
    delete config.target_size;
    delete config.target_bpw;
    delete config.expert_rules;
    if (config.quantization) config.quantization = { ...config.quantization, per_tensor: {}, rules: [] };
    edits.clear();
    rename();
    changed("plan");
  });
  for (const field of [scales, arch, ...Object.values(checks)]) {
    field.addEventListener("change", () => changed("plan"));
  }
  for (const field of [block, pre]) field.addEventListener("change", () => changed("draft"));
  shard.addEventListener("input", () => changed("plan"));
  fileName.addEventListener("input", () => {
    named = fileName.value !== "";
    changed("plan");
  });
  for (const radio of document.getElementsByName("output")) {
    radio.addEventListener("change", () => {
      showOutput();
      changed("plan");
    });
  }
}

/**
 * Suits a model that was picked.
 * @param {{format: string, name: string}} model
 */
export function adopt({ format, name }) {
  source = format === "GGUF" ? "gguf" : format === "GMAT store" ? "store" : "safetensors";
  const gguf = source === "gguf";
  base = (name || "model").replace(/[\\/:*?"<>|\s]+/g, "-");
  config = {};
  edits.clear();
  named = false;
  type.value = gguf ? KEEP : TYPE;
  block.value = gguf ? "raw" : BLOCK;
  pre.value = "";
  arch.value = "";
  shard.value = "";
  scales.value = "trellis";
  checks.noTokenizer.checked = false;
  checks.unweighted.checked = false;
  checks.customTypes.checked = false;
  arrays.adopt(base);
  if (source === "store" && output() === "store") {
    /** @type {HTMLInputElement} */ (document.querySelector("[name=output]")).checked = true;
  }
  rename();
  showOutput();
}

function rename() {
  if (named) return;
  fileName.value = type.value === KEEP ? `${base}-new.gguf` : `${base}-${type.value}.gguf`;
}

/** What is made: `gguf`, `store` or `arrays`. */
export function output() {
  const chosen = document.querySelector("[name=output]:checked");
  return /** @type {HTMLInputElement} */ (chosen).value;
}

/** Shows the fields that are for this output, and not those that are not for what was picked. */
function showOutput() {
  const has = (/** @type {string | undefined} */ list, /** @type {string} */ word) =>
    list === undefined ? undefined : list.split(" ").includes(word);
  for (const field of document.querySelectorAll("[data-for], [data-not]")) {
    const { hidden, dataset } = /** @type {HTMLElement} */ (field);
    const hide = has(dataset.for, output()) === false || has(dataset.not, source) === true;
    if (hide !== hidden) /** @type {HTMLElement} */ (field).hidden = hide;
  }
  shard.placeholder = output() === "arrays" ? "1.8 GB" : "not split; for example 5 GB";
}

/** Options of the import. */
export function importOptions() {
  return { blockFormat: block.value, ...(pre.value.trim() && { pre: pre.value.trim() }) };
}

/** The config as `gmat export --config` takes it. */
export function exportConfig() {
  const merged = structuredClone(config);
  merged.target_format ??= "gguf";
  merged.quantization ??= {};
  const types = merged.quantization;
  // A type may have parameters, which only configs give.
  const given = types.default_type?.type ?? types.default_type;
  if (type.value !== RECOMMENDED && given !== type.value) types.default_type = type.value;
  types.scale_optimization = scales.value;
  types.per_tensor = { ...types.per_tensor, ...Object.fromEntries(edits) };
  const bytes = parseSize(shard.value);
  if (bytes) merged.shard_size = bytes;
  else delete merged.shard_size;
  return merged;
}

/** Options of the export. */
export function exportOptions() {
  return {
    config: JSON.stringify(exportConfig()),
    recommend: type.value === RECOMMENDED,
    fileName: fileName.value.trim() || "model.gguf",
    ...(arch.value && { arch: arch.value }),
    noTokenizer: checks.noTokenizer.checked,
    allowUnweighted: checks.unweighted.checked,
    allowCustomTypes: checks.customTypes.checked,
    report: checks.report.checked,
  };
}

/** Whether types are sought for a size, which takes a pass of its own. */
export function hasTarget() {
  return Boolean(config.target_size || config.target_bpw);
}

/** What is wrong with the form itself, if something is. */
export function wrong() {
  const size = shard.value.trim();
  if (size && !parseSize(size)) return `“${size}” is not a size: write 5 GB or 4.5 GiB`;
  const name = output() === "arrays" ? arrays.name() : fileName.value;
  if (/[\\/]/.test(name)) return "a file name has no slashes";
  if (/^\.+$/.test(name)) return `“${name}” is not a name`;
  return undefined;
}

/** Takes an export config. @param {string} text */
export function loadConfig(text) {
  const parsed = JSON.parse(text);
  config = parsed;
  edits.clear();
  const types = parsed.quantization ?? {};
  const wanted = String(types.default_type?.type ?? types.default_type ?? TYPE).toLowerCase();
  choose(type, wanted);
  scales.value = types.scale_optimization === "standard" ? "standard" : "trellis";
  shard.value = parsed.shard_size ? String(parsed.shard_size) : "";
  rename();
}

/** Gives a tensor a type. @param {string[]} ids @param {string} name */
export function edit(ids, name) {
  for (const id of ids) edits.set(id, name);
}

/** Whether a type was chosen for it. @param {string[]} ids */
export function isEdited(ids) {
  return ids.some((id) => edits.has(id));
}

export function resetEdits() {
  edits.clear();
}

export function editCount() {
  return edits.size;
}
