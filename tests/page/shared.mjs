// What the tests of one file share: a server, a browser with the page in it, and comparing.

import assert from "node:assert/strict";
import { after } from "node:test";
import { browse, convert, made, open, serve } from "./browser.mjs";

/** Opens the page for all tests of a file. Errors of the page fail the file, unless they are `expected`. */
export async function shared({ expected = false, ...browsing } = {}) {
  const server = await serve();
  const browser = await browse(browsing);
  const page = await open(browser.context, server.url);
  after(async () => {
    if (!expected) assert.deepEqual(page.problems, []);
    await browser.close();
    server.close();
  });
  return { server, browser, page };
}

/** Converts what was picked and compares with these hashes. */
export async function same(page, expected, tar) {
  assert.equal(await convert(page), undefined);
  assert.deepEqual(await made(page, tar), expected);
}
