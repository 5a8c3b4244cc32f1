// One conversion, from the click to what can be saved.

import { Refusal } from "./client.js";
import { several } from "./format.js";
import * as arrays from "./ui/arrays.js";
import { box, byId } from "./ui/dom.js";
import * as problem from "./ui/problem.js";
import * as progress from "./ui/progress.js";
import * as result from "./ui/result.js";
import { canPick, pickFile, pickFolder, refuseFull } from "./ui/save.js";
import * as settings from "./ui/settings.js";
import * as disk from "./worker/disk.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./worker/output.js").Target} Target */
/** @typedef {{file?: FileSystemFileHandle, folder?: FileSystemDirectoryHandle, own?: string}} Chosen nothing: the browser's storage */

const CANCELLED = { kind: "cancelled", chain: ["cancelled"], hint: null };

/**
 * Where the output goes; none if the user changed their mind. Must come first of all: the click allows
 * it for a moment only.
 * @param {string} kind
 * @param {any} plan
 * @returns {Promise<Chosen | undefined>}
 */
async function choose(kind, plan) {
  const direct = canPick && crossOriginIsolated && byId("direct", HTMLInputElement).checked;
  if (!direct || kind === "store") return {};
  if (kind === "arrays") {
    const folder = await pickFolder();
    if (folder) await refuseFull(folder, arrays.name());
    return folder && { folder, own: arrays.name() };
  }
  if (plan.files.length > 1) {
    const folder = await pickFolder();
    return folder && { folder };
  }
  const file = await pickFile(settings.exportOptions().fileName);
  return file && { file };
}

/**
 * Starts the worker that writes to what was chosen.
 * @param {Chosen} chosen
 * @returns {{target: Target, writer?: Worker}}
 */
function open({ file, folder, own }) {
  if (!file && !folder) return { target: { to: "browser" } };
  const writer = new Worker(new URL("./worker/writer.js", import.meta.url), { type: "module" });
  const { port1, port2 } = new MessageChannel();
  const shared = new Int32Array(new SharedArrayBuffer(12));
  writer.postMessage({ shared, file, folder, own, port: port1 }, [port1]);
  return { target: { to: "disk", port: port2, shared }, writer };
}

/** @param {Model} model @param {any} plan */
export async function convert(model, plan) {
  problem.clear("run-problem");
  const kind = settings.output();
  const gguf = kind === "gguf";
  const importOptions = settings.importOptions();
  const options = settings.exportOptions();
  const { client } = model;
  let cancelled = false;
  /** @type {Worker | undefined} */
  let writer;
  const cancel = () => {
    cancelled = true;
    client.end(CANCELLED);
  };
  try {
    const chosen = await choose(kind, plan);
    if (!chosen) return;
    const imports = kind !== "arrays" && !model.isImported(importOptions);
    const measured = gguf && settings.hasTarget();
    const last = { gguf: ["export"], arrays: ["arrays"], store: [] }[kind] ?? [];
    working([...(imports ? ["import"] : []), ...(measured ? ["measure"] : []), ...last]);
    client.onprogress = progress.show;
    /** @type {string[]} */
    const notes = [];
    client.onnote = (text) => notes.push(text);
    box("cancel").addEventListener("click", cancel);
    if (imports) await model.import(importOptions);
    if (kind === "store") {
      await showStore(model);
    } else {
      const opened = open(chosen);
      const { target } = opened;
      writer = opened.writer;
      const moved = target.port ? [target.port] : [];
      if (gguf) {
        const answer = await client.ask("export", { options, target, measured }, moved);
        await showFiles(model, answer, options.fileName);
      } else {
        await model.worker();
        const [wanted, name] = [arrays.options(), arrays.name()];
        const answer = await client.ask("arrays", { options: wanted, target, name }, moved);
        await showArrays(model, answer, name, notes);
      }
    }
    box("announce").textContent = "Done.";
    problem.notes("run-notes", [], notes);
  } catch (error) {
    if (writer) await stop(writer);
    // A worker that was ended had no time to tidy up.
    if (!client.worker) await tidy(model);
    if (cancelled) box("announce").textContent = "Cancelled.";
    if (!(error instanceof Refusal && error.problem.kind === "cancelled")) {
      problem.show("run-problem", error);
    }
  } finally {
    writer?.terminate();
    box("cancel").removeEventListener("click", cancel);
    const inside = box("working").contains(document.activeElement);
    box("working").hidden = true;
    box("ready").hidden = false;
    if (inside) byId("convert", HTMLButtonElement).focus();
  }
}

/** Lets it remove what it has made, if it can. @param {Worker} writer */
function stop(writer) {
  const PATIENCE = 2000;
  return new Promise((resolve) => {
    writer.onmessage = resolve;
    setTimeout(resolve, PATIENCE);
    writer.postMessage({ stop: true });
  });
}

/** @param {string[]} stages */
function working(stages) {
  progress.begin(stages);
  box("ready").hidden = true;
  box("working").hidden = false;
  box("stage").focus();
}

/** Removes what is not whole. @param {Model} model */
async function tidy(model) {
  const { tab } = model.client.options;
  await disk.remove(tab, "result.tar");
  if (!model.store) await disk.remove(tab, "store.tar");
}

/** @param {Model} model @param {string} name */
async function stored(model, name) {
  const folder = await disk.folder(model.client.options.tab);
  return (await folder.getFileHandle(name)).getFile();
}

/** @param {Model} model */
async function showStore(model) {
  const { stored: name = "", entries } = /** @type {import("./worker/output.js").Written} */ (model.store);
  const title = model.selection?.name ?? model.selection?.picked[0].path ?? "model";
  result.showFolder(`${title}.gmat`, await stored(model, name), entries);
}

/** @param {Model} model @param {any} answer @param {string} name @param {string[]} notes */
async function showArrays(model, answer, name, notes) {
  const { stored: tar, entries } = answer.written;
  if (answer.clamped) notes.push(`${several(answer.clamped, "value")} beyond ±65504 became that`);
  result.showFolder(name, tar && await stored(model, tar), entries);
}

/** @param {Model} model @param {any} answer @param {string} name */
async function showFiles(model, answer, name) {
  const { stored: tar, entries } = answer.written;
  const file = tar && await stored(model, tar);
  result.showReport(answer, name);
  result.showFiles(entries.map((/** @type {import("./worker/tar.js").Entry} */ { name, start, length }) =>
    ({ name, bytes: length, blob: file?.slice(start, start + length) })));
}
