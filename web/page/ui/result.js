// What was made, to be saved; and the error report.

import { several, size } from "../format.js";
import { box, button, byId, el } from "./dom.js";
import { show as showProblem } from "./problem.js";
import { canPick, download, downloadText, intoFolder, pickFolder } from "./save.js";

/** @typedef {{name: string, blob?: Blob, bytes: number}} Made a file, with its content unless it is on disk already */

/** @param {Made[]} files */
export function showFiles(files) {
  const list = el("ul", { class: "outputs" }, ...files.map(({ name, blob, bytes }) => {
    const line = el("li", {}, el("span", { class: "name" }, name),
      el("span", { class: "muted" }, size(bytes)));
    if (blob) line.append(button("Download", () => download(blob, name), "primary"));
    else line.append(el("span", { class: "chip" }, "on your disk"));
    return line;
  }));
  box("files").replaceChildren(list);
  const kept = files.filter(({ blob }) => blob);
  if (kept.length > 1 && canPick) {
    box("files").append(folderButton("Save all to a folder", /** @type {any} */ (kept)));
  }
  reveal();
}

/**
 * A folder: one tar file, or files in a folder of the user's.
 * @param {string} name
 * @param {Blob | undefined} tar none if it is on the disk already
 * @param {import("../worker/tar.js").Entry[]} entries
 */
export function showFolder(name, tar, entries) {
  const bytes = entries.reduce((sum, entry) => sum + entry.length, 0);
  const line = el("li", {}, el("span", { class: "name" }, tar ? `${name}.tar` : name),
    el("span", { class: "muted" }, `${size(bytes)}, ${several(entries.length, "file")}`),
    tar ? button("Download", () => download(tar, `${name}.tar`), "primary")
      : el("span", { class: "chip" }, "on your disk"));
  box("files").replaceChildren(el("ul", { class: "outputs" }, line));
  if (tar && canPick) {
    box("files").append(folderButton("Save as a folder", entries.map(({ name, start, length }) =>
      ({ name, blob: tar.slice(start, start + length) }))));
  }
  box("report-view").hidden = true;
  reveal();
}

/** @param {string} text @param {{name: string, blob: Blob}[]} files */
function folderButton(text, files) {
  const state = el("span", { class: "muted", role: "status" });
  const save = button(text, async () => {
    try {
      const folder = await pickFolder();
      if (!folder) return;
      save.disabled = true;
      state.textContent = "Saving …";
      await intoFolder(folder, files);
      state.textContent = "Saved.";
    } catch (error) {
      state.textContent = "";
      showProblem("run-problem", error);
    }
    save.disabled = false;
  });
  return el("p", { class: "buttons" }, save, state);
}

/** @param {{reportHtml?: string, reportJson?: string}} answer @param {string} name */
export function showReport({ reportHtml, reportJson }, name) {
  const view = box("report-view");
  view.hidden = !reportHtml;
  const frame = byId("report-frame", HTMLIFrameElement);
  frame.srcdoc = reportHtml ?? "";
  if (!reportHtml || !reportJson) return;
  const stem = name.replace(/\.gguf$/, "");
  byId("save-html", HTMLButtonElement).onclick = () =>
    downloadText(reportHtml, `${stem}-report.html`, "text/html");
  byId("save-json", HTMLButtonElement).onclick = () =>
    downloadText(reportJson, `${stem}-report.json`, "application/json");
}

function reveal() {
  box("result").hidden = false;
  box("result-title").focus();
}

export function hide() {
  box("result").hidden = true;
  box("files").replaceChildren();
  byId("report-frame", HTMLIFrameElement).srcdoc = "";
}
