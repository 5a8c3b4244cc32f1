// What the page needs of its host and the browser: nothing after it is loaded, and no headers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browse, chooses, convert, made, open, pick, serve, set } from "./browser.mjs";
import { exported, oracle, store, TRAINED } from "./cli.mjs";

/** Converts a small model and compares. */
async function works(t, page, model = oracle("llama3")) {
  await pick(page, model);
  await set(page, { type: "q5_k_m", "file-name": "m.gguf" });
  assert.equal(await convert(page), undefined);
  assert.deepEqual(await made(page), await exported(t, store(t, model), "m.gguf", "--type", "q5_k_m"));
  assert.deepEqual(page.problems, []);
}

/** Starts a server and a browser, which end with the test. */
async function start(t, serving, browsing) {
  const server = await serve(serving);
  const browser = await browse(browsing);
  t.after(async () => {
    await browser.close();
    server.close();
  });
  return { server, browser };
}

/** Waits until the page is kept for use without network. */
async function kept(page) {
  await page.evaluate(async () => {
    const { active } = await navigator.serviceWorker.ready;
    while (active.state !== "activated") await new Promise((resolve) => setTimeout(resolve, 20));
  });
}

test("no request after the page is loaded", async (t) => {
  const { server, browser } = await start(t);
  const page = await open(browser.context, server.url);
  await kept(page);
  const requests = [];
  browser.context.on("request", (request) => requests.push(request.url()));
  // What page and workers ask the service worker for is in the list as well, but not from the network.
  server.close();
  await works(t, page, TRAINED);
  const foreign = requests.filter((url) => !url.startsWith(server.url) && !/^(blob|data|about):/.test(url));
  assert.deepEqual(foreign, []);
});

test("works without network after the first visit", async (t) => {
  const { server, browser } = await start(t);
  const first = await open(browser.context, server.url);
  await kept(first);
  await first.close();
  server.close();
  await browser.context.setOffline(true);
  const page = await open(browser.context, server.url);
  assert.match(await page.textContent("#engine"), /2 threads|[2-9] threads|\d\d threads|1 thread/);
  assert.ok(await page.evaluate(() => crossOriginIsolated));
  await works(t, page);
});

test("a host without headers: the service worker isolates the page", async (t) => {
  const { server, browser } = await start(t, { plain: true });
  const page = await open(browser.context, server.url);
  await page.waitForFunction(() => crossOriginIsolated && document.documentElement.dataset.ready);
  await works(t, page);
});

test("a host without headers and a browser without service workers: one thread", async (t) => {
  const { server, browser } = await start(t, { plain: true }, { serviceWorkers: "block" });
  const page = await open(browser.context, server.url);
  assert.equal(await page.evaluate(() => crossOriginIsolated), false);
  assert.match(await page.textContent("#engine"), /1 thread$/);
  await works(t, page, TRAINED);
});

test("writing straight to files that the user chooses, whole or split", async (t) => {
  const { server, browser } = await start(t);
  const { page, chosen, clear } = await chooses(browser.context, server.url);
  const from = store(t, TRAINED);
  await pick(page, TRAINED);
  await set(page, { type: "q4_k_s", "file-name": "m.gguf" });
  assert.equal(await convert(page), undefined);
  assert.deepEqual(await chosen(), await exported(t, from, "m.gguf", "--type", "q4_k_s"));
  await clear();
  await set(page, { shard: "2MB" });
  assert.equal(await convert(page), undefined);
  const split = await exported(t, from, "m.gguf", "--type", "q4_k_s", "--shard-size", "2MB");
  assert.deepEqual(await chosen(), split);
  await clear();
  assert.match(await page.innerText("#files"), /on your disk/);

  await set(page, { type: "iq4_xs" });
  await page.click("#convert");
  await page.waitForFunction(() => document.getElementById("stage").textContent.includes("Quantizing"));
  await page.click("#cancel");
  await page.waitForFunction(() => !document.getElementById("convert").disabled);
  assert.deepEqual(await chosen(), {});
  assert.deepEqual(page.problems, []);
});
