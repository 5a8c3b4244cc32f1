// The service worker: keeps the page for use without network, and isolates it where the host does not
// send the headers that threads need. A page is isolated from its next load on.

/** Whether the page was loaded again for this already. */
const TRIED = "gmat-isolated";

/** How long the page waits for it, in milliseconds. */
const PATIENCE = 15_000;

/** Registers it; answers whether the page is about to be loaded again. */
export async function prepare() {
  const workers = navigator.serviceWorker;
  if (!workers || !isSecureContext) return false;
  try {
    const registered = await workers.register("./sw.js");
    if (!registered || crossOriginIsolated || sessionStorage.getItem(TRIED)) return false;
    sessionStorage.setItem(TRIED, "1");
    const late = new Promise((resolve) => setTimeout(resolve, PATIENCE));
    if (!await Promise.race([workers.ready, late])) return false;
    location.reload();
    return true;
  } catch {
    // Private windows and strange hosts: without it the page works as well.
    return false;
  }
}
