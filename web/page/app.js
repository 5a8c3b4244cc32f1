// Puts the page together: what happens when something is picked, changed or converted.

import { Client, Refusal } from "./client.js";
import { convert } from "./convert.js";
import { several, size } from "./format.js";
import { prepare } from "./isolate.js";
import { Model } from "./model.js";
import * as arrays from "./ui/arrays.js";
import { box, byId, el, marked } from "./ui/dom.js";
import * as pick from "./ui/pick.js";
import * as plugins from "./ui/plugins.js";
import * as problem from "./ui/problem.js";
import * as result from "./ui/result.js";
import { canPick, downloadText } from "./ui/save.js";
import * as settings from "./ui/settings.js";
import * as summary from "./ui/summary.js";
import * as table from "./ui/table.js";
import * as disk from "./worker/disk.js";

/** Pause after a change before the plan is made anew, in milliseconds. */
const SETTLE = 150;

const address = new URLSearchParams(location.search);
const threads = Number(address.get("threads")) || navigator.hardwareConcurrency || 1;
const client = new Client({ tab: crypto.randomUUID?.() ?? String(Math.random()).slice(2), threads });
const model = new Model(client);
const convertButton = byId("convert", HTMLButtonElement);
/** The plan that is shown. @type {any} */
let plan;
let timer = 0;
/** Number of the last change, so that answers to earlier ones are not shown. */
let change = 0;
let busy = false;

/** @param {string} text @param {string} [kind] */
function notice(text, kind = "") {
  box("notices").append(el("p", { class: `notice ${kind}` }, text));
}

/** @param {import("./ui/pick.js").Selection} selection */
async function picked(selection) {
  if (busy) return;
  setBusy(true);
  clearTimeout(timer);
  change += 1;
  for (const id of ["options", "run", "result", "summary", "base"]) box(id).hidden = true;
  for (const id of ["run-problem", "plan-problem", "run-notes", "plan-notes"]) problem.clear(id);
  result.hide();
  box("notices").replaceChildren();
  const title = selection.name ?? selection.picked[0].path;
  const text = /** @type {HTMLElement} */ (document.querySelector(".droptext"));
  text.textContent = `Reading ${title} …`;
  try {
    const contents = await model.open(selection);
    summary.show(contents, title);
    settings.adopt({ format: contents.format, name: title.replace(/\.(gguf|safetensors|tar|gmat)\b.*$/i, "") });
    if (model.matrix) await weigh(undefined);
    showConfigState("");
    showBase(contents.base);
    box("drop").classList.add("done");
    text.textContent = selection.name
      ? `${selection.name}: ${several(selection.picked.length, "file")}` : title;
    box("options").hidden = false;
    box("run").hidden = false;
    box("summary").focus();
    await replan();
  } catch (error) {
    box("drop").classList.remove("done");
    text.textContent = "Drop a model folder or files here";
    box("summary").hidden = false;
    problem.show("summary", error);
  }
  setBusy(false);
}

/** Adds plugins. @param {File[]} files */
async function plug(files) {
  if (busy) return;
  problem.clear("plugin-problem");
  setBusy(true);
  for (const file of files) await tryPlugins(() => model.plug(file));
  setBusy(false);
  if (model.selection) await replan();
}

/** Offers what there is after plugins came or went, or says why they did not. @param {() => Promise<any>} change */
async function tryPlugins(change) {
  try {
    offer(await change());
  } catch (error) {
    problem.show("plugin-problem", error);
  }
}

/** @param {string} name */
async function unplug(name) {
  if (busy) return;
  problem.clear("plugin-problem");
  setBusy(true);
  settings.forget(name);
  await tryPlugins(() => model.unplug(name));
  setBusy(false);
  if (model.selection) await replan();
}

/** Shows what there is to choose from after plugins came or went. @param {any} formats */
function offer(formats) {
  settings.fill(formats);
  table.offer(formats);
  plugins.show(model.plugins, unplug);
}

/** What the store was made against, if it was. @param {{path: string | null} | null | undefined} base */
function showBase(base) {
  box("base").hidden = !base;
  box("base-name").textContent = "";
  const was = base?.path ? ` It was at \`${base.path}\`.` : "";
  box("base-text").replaceChildren(
    ...marked(`This store holds only what differs from another one, its base.${was}`));
}

/** @param {import("./ui/pick.js").Selection} selection */
async function attach(selection) {
  if (busy) return;
  await model.attach(selection);
  box("base-name").textContent = selection.name ?? "";
  await replan();
}

/** @param {boolean} on */
function setBusy(on) {
  busy = on;
  pick.enable(!on);
  for (const field of document.querySelectorAll("#options :is(input, select, button), #base button, #plugins button")) {
    /** @type {HTMLInputElement} */ (field).disabled = on;
  }
  convertButton.disabled = on || !plan;
}

function changed() {
  clearTimeout(timer);
  convertButton.disabled = true;
  timer = setTimeout(replan, SETTLE);
}

/** Plans anew and shows what comes of it. */
async function replan() {
  const mine = ++change;
  /** @type {any} */
  let planned;
  try {
    const wrong = settings.wrong();
    if (wrong) throw new Refusal({ kind: "config", chain: [wrong], hint: null });
    const kind = settings.output();
    if (kind === "arrays") {
      await model.worker();
      planned = { arrays: await client.ask("planArrays", arrays.options()) };
    } else {
      await model.prepare(settings.importOptions());
      if (kind === "gguf") planned = await client.ask("plan", settings.exportOptions());
      else planned = { store: model.draft };
    }
    if (mine !== change) return;
    problem.clear("plan-problem");
    showPlan(planned);
  } catch (error) {
    if (mine !== change) return;
    planned = undefined;
    box("estimate").replaceChildren();
    problem.clear("plan-notes");
    problem.show("plan-problem", error);
  }
  plan = planned;
  convertButton.disabled = busy || !plan;
}

/** @param {any} planned */
function showPlan(planned) {
  const parts = [];
  if (planned.arrays) {
    const { bytes, shards } = planned.arrays;
    parts.push(el("strong", {}, size(bytes)),
      el("span", { class: "muted" }, `${several(planned.arrays.arrays, "array")}, ${several(shards, "shard")}`));
  } else if (planned.store) {
    parts.push(el("strong", {}, `at most ${size(planned.store.bytes)}`),
      el("span", { class: "muted" }, several(planned.store.tensors, "tensor")));
  } else {
    table.show(planned.tensors);
    const files = planned.files.length;
    const target = planned.targetSize ? size(planned.targetSize)
      : planned.targetBpw && `${planned.targetBpw} bits per weight`;
    parts.push(el("strong", {}, target ? `at most ${target}` : size(planned.bytes)));
    if (!target) parts.push(el("span", {}, `${planned.bitsPerWeight.toFixed(2)} bits per weight`));
    parts.push(el("span", { class: "muted" }, `${several(planned.tensors.length, "tensor")}, ${several(files, "file")}`));
    if (settings.exportOptions().recommend && !model.isImported(settings.importOptions())) {
      parts.push(el("span", { class: "muted" }, "before weights are looked at"));
    }
  }
  box("estimate").replaceChildren(...parts);
  const draft = planned.arrays ? planned.arrays.notes : model.draft?.notes ?? [];
  problem.notes("plan-notes", planned.warnings ?? [], [...draft, ...planned.notes ?? []]);
  showRoom(planned);
}

/** Whether the browser's storage has room. @param {any} planned */
async function showRoom(planned) {
  const direct = canPick && crossOriginIsolated && settings.output() !== "store";
  box("direct-choice").hidden = !direct;
  const imports = !planned.arrays && !model.isImported(settings.importOptions());
  const stored = imports ? model.draft?.bytes ?? 0 : 0;
  const output = planned.arrays?.bytes ?? planned.bytes;
  const written = planned.store || (direct && byId("direct", HTMLInputElement).checked) ? 0 : output;
  const need = stored + written;
  const { quota = 0, usage = 0 } = await navigator.storage?.estimate?.() ?? {};
  const short = quota > 0 && need > quota - usage;
  box("room").replaceChildren(...(short ? [el("p", { class: "notice warn" },
    `this may need ${size(need)} of the browser's storage, which has ${size(quota - usage)} left`)] : []));
}

/** @param {string} text */
function showConfigState(text) {
  box("config-state").textContent = text;
  box("config-state").hidden = !text;
}

/** @param {File | undefined} file */
async function weigh(file) {
  await model.weigh(file);
  box("matrix-name").textContent = file?.name ?? "none";
  box("drop-matrix").hidden = !file;
}

/** @param {string} id @param {(file: File) => void} take */
function onFile(id, take) {
  const field = byId(id, HTMLInputElement);
  field.addEventListener("change", () => {
    const file = field.files?.[0];
    if (file) take(file);
    field.value = "";
  });
}

function listen() {
  box("load-config").addEventListener("click", () => box("config-input").click());
  onFile("config-input", async (file) => {
    try {
      settings.loadConfig(await file.text());
      showConfigState(file.name);
      await replan();
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      problem.show("plan-problem", new Refusal({ kind: "config", chain: [`config \`${file.name}\``, `not valid JSON: ${text}`], hint: null }));
    }
  });
  box("save-config").addEventListener("click", async () => {
    try {
      const options = settings.exportOptions();
      const text = options.recommend ? await client.ask("recommend", options)
        : `${JSON.stringify(settings.exportConfig(), null, 2)}\n`;
      downloadText(text, "export_config.json", "application/json");
    } catch (error) {
      problem.show("plan-problem", error);
    }
  });
  box("pick-matrix").addEventListener("click", () => box("matrix-input").click());
  onFile("matrix-input", async (file) => {
    await weigh(file);
    await replan();
  });
  box("drop-matrix").addEventListener("click", async () => {
    await weigh(undefined);
    await replan();
  });
  box("pick-base").addEventListener("click", () => box("base-input").click());
  pick.onFolder("base-input", attach);
  box("pick-plugin").addEventListener("click", () => box("plugin-input").click());
  onFile("plugin-input", (file) => plug([file]));
  byId("direct", HTMLInputElement).addEventListener("change", () => plan && showRoom(plan));
  convertButton.addEventListener("click", async () => {
    setBusy(true);
    result.hide();
    try {
      await convert(model, plan);
    } finally {
      setBusy(false);
    }
    await replan();
  });
  addEventListener("beforeunload", (event) => {
    if (!box("working").hidden) event.preventDefault();
  });
}

async function main() {
  if (await prepare()) return;
  try {
    const leftovers = await disk.hold(client.options.tab).then(disk.tidy);
    if (leftovers) notice("A conversion that was interrupted left partial output, which was removed.");
  } catch {
    notice("This browser gives the page no storage: in private windows conversions do not work.", "warn");
  }
  const formats = await model.start();
  settings.init(formats, changed);
  arrays.init(formats, changed);
  table.init(formats, changed);
  listen();
  pick.init(picked, plug);
  pick.enable(true);
  box("engine").textContent = `Ready · ${several(formats.threads, "thread")}`;
  box("about").textContent = `gmat ${formats.version}`;
  document.documentElement.dataset.tab = client.options.tab;
  document.documentElement.dataset.ready = String(formats.threads);
}

main().catch((error) => {
  box("engine").textContent = "Not ready";
  box("summary").hidden = false;
  problem.show("summary", error);
});
