// What is to be made: the form, and the export config behind it.

import { parseSize } from "../format.js";
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
};

/** The config that was loaded, or an empty one; what the form says is put on top. @type {any} */
let config = {};
/** Types that were chosen in the table, by id. @type {Map<string, string>} */
const edits = new Map();
/** Whether the user gave the file a name. */
let named = false;
let base = "model";

/**
 * Fills lists; `changed` is called whenever the plan may change.
 * @param {any} formats
 * @param {(what: "plan" | "draft") => void} changed
 */
export function init(formats, changed) {
  const option = (/** @type {string} */ value, text = value) => el("option", { value }, text);
  const bits = (/** @type {any} */ { name, bits, needsImportance }) =>
    option(name, `${name} · ${Number(bits.toFixed(2))} bits${needsImportance ? ", needs importance" : ""}`);
  const forAll = formats.types.filter((/** @type {any} */ type) => type.forAll);
  type.replaceChildren(
    option(RECOMMENDED, "recommended for each tensor"),
    option(KEEP, "keep what each tensor has"),
    el("optgroup", { label: "Mixtures, as llama-quantize makes them" },
      ...formats.recipes.map((/** @type {any} */ { name, base }) =>
        option(name, `${name} · mostly ${base}`))),
    el("optgroup", { label: "One type" }, ...forAll.map(bits)));
  type.value = "q4_k_m";
  block.replaceChildren(...formats.blocks.map((/** @type {any} */ { name }) => option(name)));
  arch.replaceChildren(option("", "that of the model"),
    ...formats.archs.map((/** @type {string} */ name) => option(name)));

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
  const gguf = format === "GGUF", store = format === "GMAT store";
  base = name || "model";
  config = {};
  edits.clear();
  named = false;
  type.value = gguf ? KEEP : "q4_k_m";
  block.value = gguf ? "raw" : "B8x8";
  pre.value = "";
  arch.value = "";
  shard.value = "";
  scales.value = "trellis";
  checks.noTokenizer.checked = false;
  checks.unweighted.checked = false;
  box("store-choice").hidden = store;
  box("block-field").hidden = store;
  box("pre-field").hidden = store || gguf;
  if (store) /** @type {HTMLInputElement} */ (document.querySelector("[name=output]")).checked = true;
  rename();
  showOutput();
}

function rename() {
  if (named) return;
  const safe = base.replace(/[\\/:*?"<>|\s]+/g, "-");
  fileName.value = type.value === KEEP ? `${safe}-new.gguf` : `${safe}-${type.value}.gguf`;
}

/** What is made: `gguf` or `store`. */
export function output() {
  const chosen = document.querySelector("[name=output]:checked");
  return /** @type {HTMLInputElement} */ (chosen).value;
}

function showOutput() {
  const gguf = output() === "gguf";
  box("gguf-options").hidden = !gguf;
  box("tensors").hidden = !gguf;
  for (const field of document.querySelectorAll(".gguf-only")) {
    /** @type {HTMLElement} */ (field).hidden = !gguf;
  }
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
  if (type.value !== RECOMMENDED) types.default_type = type.value;
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
  if (/[\\/]/.test(fileName.value)) return "a file name has no slashes";
  return undefined;
}

/** Takes an export config. @param {string} text */
export function loadConfig(text) {
  const parsed = JSON.parse(text);
  config = parsed;
  edits.clear();
  const types = parsed.quantization ?? {};
  const wanted = String(types.default_type ?? "q4_k_m").toLowerCase();
  type.value = wanted;
  // A name that is spelt otherwise is left to the core, which knows what to say.
  if (type.value !== wanted) {
    type.append(el("option", { value: wanted }, wanted));
    type.value = wanted;
  }
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
