// A browser with the page in it, and what tests do there.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

/** The server of `make serve`, the folder that it serves, the browser, and the command line. */
const { GMAT_BUNDLE, GMAT_DIST, CHROMIUM } = process.env;

const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

/** Serves the page on a free port; `plain` leaves out the headers of isolation. */
export async function serve({ plain = false } = {}) {
  const server = spawn(GMAT_BUNDLE, ["serve", GMAT_DIST, "0", ...(plain ? ["--plain"] : [])]);
  const line = await new Promise((resolve, reject) => {
    server.stdout.once("data", (data) => resolve(String(data)));
    server.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return { url: line.trim(), close: () => server.kill() };
}

/** A browser with a fresh profile. */
export async function browse(options = {}) {
  const profile = mkdtempSync(path.join(tmpdir(), "gmat-page-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: true,
    args: QUIET,
    acceptDownloads: true,
    ...options,
  });
  context.setDefaultTimeout(60_000);
  const close = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { context, profile, close };
}

/** Opens the page and waits until it can take a model; answers the page, which collects its errors. */
export async function open(context, url) {
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") page.problems.push(message.text());
  });
  // Without a dialog to answer, files go through the browser's storage.
  await page.addInitScript(() => {
    if (!window.keepPickers) {
      delete window.showSaveFilePicker;
      delete window.showDirectoryPicker;
    }
  });
  await page.goto(url);
  await page.waitForFunction(() => document.documentElement.dataset.ready);
  return page;
}

/** Picks a folder (a path), or files (a list of paths), and waits for the plan. */
export async function pick(page, what) {
  // A tab in the background does not take files.
  await page.bringToFront();
  await page.setInputFiles(Array.isArray(what) ? "#files-input" : "#folder-input", what);
  await settled(page);
}

/** Adds a plugin (a path, or a name with bytes), and waits until the page has taken it or refused it. */
export async function plug(page, file) {
  await page.bringToFront();
  await page.setInputFiles("#plugin-input", file);
  await page.waitForFunction(() => !document.getElementById("pick-files").disabled);
}

/**
 * Opens the page where users choose files and folders. Dialogs cannot be answered here: the folder
 * `chosen` of the browser's storage stands in for what is chosen. `chosen` answers the hashes of all
 * files there, `clear` removes them.
 */
export async function chooses(context, url) {
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  await page.addInitScript(() => {
    const folder = async () =>
      (await navigator.storage.getDirectory()).getDirectoryHandle("chosen", { create: true });
    window.showSaveFilePicker = async ({ suggestedName }) =>
      (await folder()).getFileHandle(suggestedName, { create: true });
    window.showDirectoryPicker = folder;
  });
  await page.goto(url);
  await page.waitForFunction(() => document.documentElement.dataset.ready);
  const chosen = () => page.evaluate(async () => {
    const hashes = {};
    const list = async (folder, prefix) => {
      for await (const [name, handle] of folder.entries()) {
        if (handle.kind === "directory") {
          await list(handle, `${prefix}${name}/`);
          continue;
        }
        const digest = await crypto.subtle.digest("SHA-256", await (await handle.getFile()).arrayBuffer());
        hashes[prefix + name] = [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, "0")).join("");
      }
    };
    await list(await window.showDirectoryPicker(), "");
    return hashes;
  });
  const clear = () => page.evaluate(async () =>
    (await navigator.storage.getDirectory()).removeEntry("chosen", { recursive: true }).catch(() => {}));
  return { page, chosen, clear };
}

/** Waits until the page has taken what was picked or changed, whether it likes it or not. */
export async function settled(page) {
  await page.waitForFunction(() => {
    const shown = (selector) => document.querySelector(selector) !== null;
    const idle = !document.getElementById("pick-files").disabled;
    const planned = !document.getElementById("convert").disabled;
    return idle && (planned || shown("#plan-problem .bad") || shown("#summary .bad"));
  });
}

/** Sets fields by id; answers when the plan is there. */
export async function set(page, fields) {
  await page.evaluate((fields) => {
    for (const [id, value] of Object.entries(fields)) {
      if (id === "output") {
        document.querySelector(`[name=output][value=${value}]`).click();
        continue;
      }
      const field = document.getElementById(id);
      if (field.type === "checkbox") field.checked = value;
      else field.value = value;
      field.dispatchEvent(new Event(field.tagName === "INPUT" && field.type !== "checkbox" ? "input" : "change", { bubbles: true }));
      if (field.tagName === "INPUT" && field.type !== "checkbox") field.dispatchEvent(new Event("change", { bubbles: true }));
    }
    document.getElementById("convert").disabled = true;
  }, fields);
  await settled(page);
}

/**
 * Converts, and waits for the end; answers the problem that is shown, if one is. Looking for the end at
 * every frame would make the browser draw all the time.
 */
export async function convert(page, { timeout = 120_000 } = {}) {
  await page.click("#convert");
  await page.waitForFunction(() =>
    !document.getElementById("ready").hidden && !document.getElementById("pick-files").disabled
    && !document.getElementById("convert").disabled, null, { timeout, polling: 50 });
  return page.evaluate(() => document.querySelector("#run-problem .bad")?.innerText);
}

/** SHA-256 of every file that was made, by name, read from the browser's storage. */
export async function made(page, tar = "result.tar") {
  return page.evaluate(async (tar) => {
    const { entries } = await import("./worker/tar.js");
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(`gmat-${document.documentElement.dataset.tab}`);
    const bytes = new Uint8Array(await (await (await folder.getFileHandle(tar)).getFile()).arrayBuffer());
    const hashes = {};
    for (const { name, start, length } of entries(bytes.length, (at, n) => bytes.subarray(at, at + n))) {
      const digest = await crypto.subtle.digest("SHA-256", bytes.subarray(start, start + length));
      hashes[name] = [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, "0")).join("");
    }
    return hashes;
  }, tar);
}

/** SHA-256 of a file on disk. */
export async function hash(file) {
  const hasher = createHash("sha256");
  for await (const piece of createReadStream(file)) hasher.update(piece);
  return hasher.digest("hex");
}
