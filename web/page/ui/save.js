// From the browser's storage, or from memory, to where the user wants it.

import { Refusal } from "../client.js";
import { el } from "./dom.js";

/** Whether the browser can write to files of the user's choice. */
export const canPick = "showSaveFilePicker" in window;

/** A file that the user chooses; none if they change their mind. @param {string} name */
export async function pickFile(name) {
  // @ts-ignore not in the library's types yet
  return unlessAborted(() => window.showSaveFilePicker({ suggestedName: name }));
}

/** A folder that the user chooses. @returns {Promise<FileSystemDirectoryHandle | undefined>} */
export async function pickFolder() {
  // @ts-ignore not in the library's types yet
  return unlessAborted(() => window.showDirectoryPicker({ mode: "readwrite" }));
}

/** @param {() => Promise<any>} ask */
async function unlessAborted(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return undefined;
    throw error;
  }
}

/** The download that every browser has. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  // Revoked at once, some browsers save nothing.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** @param {string} text @param {string} name @param {string} type */
export function downloadText(text, name, type) {
  download(new Blob([text], { type }), name);
}

/** Nothing of the user's is replaced or mixed with. @param {FileSystemDirectoryHandle} parent @param {string} name */
export async function refuseFull(parent, name) {
  const folder = await parent.getDirectoryHandle(name).catch(() => undefined);
  // @ts-ignore iteration of folders is not in the library's types yet
  for await (const inside of folder?.keys() ?? []) {
    throw new Refusal({
      kind: "config",
      chain: [`the folder \`${name}\` is there already, and holds \`${inside}\``],
      hint: "choose another place or name, or move it away",
    });
  }
}

/**
 * Writes files into a folder, with folders of their own where their names have them.
 * @param {FileSystemDirectoryHandle} folder
 * @param {{name: string, blob: Blob}[]} files
 */
export async function intoFolder(folder, files) {
  const [first, ...below] = files[0]?.name.split("/") ?? [];
  if (below.length) await refuseFull(folder, first);
  for (const { name, blob } of files) {
    const parts = name.split("/");
    let inner = folder;
    for (const part of parts.slice(0, -1)) {
      inner = await inner.getDirectoryHandle(part, { create: true });
    }
    const file = await inner.getFileHandle(parts[parts.length - 1], { create: true });
    await blob.stream().pipeTo(await file.createWritable());
  }
}
