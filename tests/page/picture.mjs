// Makes docs/page.png, the picture of the page in the README: `tests/page/run.sh … picture.mjs`.

import path from "node:path";
import { browse, open, pick, serve } from "./browser.mjs";
import { ROOT, TRAINED } from "./cli.mjs";

const server = await serve();
const browser = await browse({ viewport: { width: 900, height: 1000 }, colorScheme: "light" });
const page = await open(browser.context, server.url);
await pick(page, TRAINED);
await page.click("#tensors > summary");
await page.fill("#filter", "blk.2");
await page.waitForTimeout(300);
await page.evaluate(() => {
  document.activeElement.blur();
  scrollTo(0, 0);
});
await page.screenshot({ path: path.join(ROOT, "docs/page.png"), fullPage: true });
await browser.close();
server.close();
