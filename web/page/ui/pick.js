// Picking a model: a folder or files, by dialog or by dropping them.

import { box, byId } from "./dom.js";

/** @typedef {import("../worker/sources.js").Picked} Picked */

/**
 * @typedef {object} Selection
 * @property {string} title what messages call it
 * @property {string} [name] name of the folder
 * @property {Picked[]} picked
 */

/** Files of one folder are taken below its name. @param {Picked[]} picked @returns {Selection} */
function selection(picked) {
  const first = picked[0]?.path ?? "";
  const slash = first.indexOf("/");
  const folder = slash > 0 ? first.slice(0, slash) : undefined;
  const inside = folder !== undefined && picked.every(({ path }) => path.startsWith(`${folder}/`));
  if (!inside) return { title: "", picked };
  const below = picked.map(({ path, file }) => ({ path: path.slice(slash + 1), file }));
  return { title: folder, name: folder, picked: below };
}

/** @param {FileList | File[]} files @returns {Selection} */
function ofFiles(files) {
  return selection([...files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

/** What was dropped, folders with all that is in them. @param {DataTransfer} data */
async function ofDrop(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return ofFiles(data.files);
  /** @type {Picked[]} */
  const picked = [];
  for (const entry of entries) if (entry) await walk(entry, "", picked);
  return selection(picked);
}

/** @param {FileSystemEntry} entry @param {string} prefix @param {Picked[]} picked */
async function walk(entry, prefix, picked) {
  const path = prefix + entry.name;
  if (entry.isFile) {
    const file = /** @type {FileSystemFileEntry} */ (entry);
    picked.push({ path, file: await new Promise((ok, no) => file.file(ok, no)) });
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    // Some hundred at a time, and none at the end.
    const found = await new Promise((/** @type {(e: FileSystemEntry[]) => void} */ ok, no) =>
      reader.readEntries(ok, no));
    if (!found.length) return;
    for (const inner of found) await walk(inner, `${path}/`, picked);
  }
}

/** Plugins lie beside a model, or in a folder of theirs, as the command line finds them. */
const PLUGIN = /^(plugins\/)?[^/]+\.wasm$/i;

/**
 * The folder in a field.
 * @param {string} id
 * @param {(selection: Selection) => void} chosen
 */
export function onFolder(id, chosen) {
  const field = byId(id, HTMLInputElement);
  field.addEventListener("change", () => {
    if (field.files?.length) chosen(ofFiles(field.files));
    field.value = "";
  });
}

/**
 * @param {(selection: Selection) => Promise<void>} chosen
 * @param {(files: File[]) => Promise<void>} plugged called before, if there are plugins
 */
export function init(chosen, plugged) {
  const drop = box("drop");
  const take = async (/** @type {Selection} */ { picked, ...selected }) => {
    const plugins = picked.filter(({ path }) => PLUGIN.test(path));
    if (plugins.length) await plugged(plugins.map(({ file }) => file));
    const others = picked.filter((one) => !plugins.includes(one));
    if (others.length) await chosen({ ...selected, picked: others });
  };
  for (const [button, input] of [["pick-folder", "folder-input"], ["pick-files", "files-input"]]) {
    const field = byId(input, HTMLInputElement);
    box(button).addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      take(ofFiles(field.files ?? []));
      // So that the same files can be picked again.
      field.value = "";
    });
  }
  // Anywhere on the page: a browser would open what misses the frame.
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer && !byId("pick-files", HTMLButtonElement).disabled) {
      take(await ofDrop(event.dataTransfer));
    }
  });
}

/** @param {boolean} on */
export function enable(on) {
  byId("pick-folder", HTMLButtonElement).disabled = !on;
  byId("pick-files", HTMLButtonElement).disabled = !on;
}
