// The page is usable by keyboard, with a screen reader and on a phone.

import assert from "node:assert/strict";
import { test } from "node:test";
import path from "node:path";
import { convert, pick, plug, set } from "./browser.mjs";
import { oracle } from "./cli.mjs";
import { shared } from "./shared.mjs";

const { browser, page } = await shared({ expected: true, viewport: { width: 360, height: 740 } });

/** Roles and names of what a screen reader finds. */
async function controls() {
  const session = await browser.context.newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  const roles = ["button", "combobox", "textbox", "searchbox", "checkbox", "radio", "progressbar", "region", "img"];
  return nodes
    .filter(({ ignored, role }) => !ignored && roles.includes(role?.value))
    .map(({ role, name }) => ({ role: role.value, name: name?.value ?? "" }));
}

/** Nothing is wider than the screen. */
async function fits() {
  const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= screen, `${wide} pixels on ${screen}`);
}

test("every control has a name, and nothing is wider than a phone", async () => {
  await fits();
  await plug(page, path.join(process.env.EXAMPLES, "half_rows.wasm"));
  await pick(page, oracle("mixtral"));
  for (const summary of await page.$$("summary")) await summary.click();
  await fits();
  const found = await controls();
  assert.ok(found.length > 30);
  assert.deepEqual(found.filter(({ name }) => !name.trim()), []);
  for (const output of ["store", "arrays"]) {
    await set(page, { output });
    await fits();
    assert.deepEqual((await controls()).filter(({ name }) => !name.trim()), []);
  }
  await set(page, { output: "gguf", type: "q8_0" });
  assert.equal(await convert(page), undefined);
  await fits();
});

test("a conversion by keyboard", async () => {
  await pick(page, oracle("llama3"));
  // What was found is read out.
  assert.equal(await page.evaluate(() => document.activeElement.id), "summary");
  const passed = [];
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press("Tab");
    const id = await page.evaluate(() => document.activeElement.id);
    passed.push(id);
    if (id === "type") await page.keyboard.press("ArrowDown");
    if (id === "convert") break;
  }
  assert.ok(passed.includes("type") && passed.includes("file-name"), passed.join());
  await page.waitForFunction(() => !document.getElementById("convert").disabled);
  await page.focus("#convert");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "result-title");
  assert.deepEqual(page.problems, []);
});
