// The part of the browser's own storage (OPFS) that belongs to one tab. A lock of the tab's name says
// that it is in use; what tabs left behind that are gone is removed.

const PREFIX = "gmat-";

/** The folder of a tab. @param {string} tab */
export async function folder(tab) {
  const root = await navigator.storage.getDirectory();
  return root.getDirectoryHandle(PREFIX + tab, { create: true });
}

/** Removes a file of a tab, if it is there. @param {string} tab @param {string} name */
export async function remove(tab, name) {
  await patiently(await folder(tab), name);
}

/** How often, and with which pause in milliseconds: browsers end a busy worker after some seconds only. */
const TRIES = 200, PAUSE = 50;

/**
 * Removes what a worker that was just ended may still hold for a moment.
 * @param {FileSystemDirectoryHandle} parent
 * @param {string} name
 */
async function patiently(parent, name) {
  for (let tries = 0; tries < TRIES; tries += 1) {
    try {
      return await parent.removeEntry(name, { recursive: true });
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotFoundError") return;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}

/** Holds the lock of a tab as long as its page lives. @param {string} tab */
export function hold(tab) {
  return new Promise((held) => {
    navigator.locks?.request(PREFIX + tab, () => {
      held(undefined);
      return new Promise(() => {});
    });
    if (!navigator.locks) held(undefined);
  });
}

/** Removes what other tabs left behind; whether there was something. */
export async function tidy() {
  const root = await navigator.storage.getDirectory();
  const held = new Set((await navigator.locks.query()).held?.map((lock) => lock.name));
  let found = false;
  // @ts-ignore iteration of folders is not in the library's types yet
  for await (const name of root.keys()) {
    if (!name.startsWith(PREFIX) || held.has(name)) continue;
    found = true;
    await patiently(root, name);
  }
  return found;
}
