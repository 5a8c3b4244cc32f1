// The model on its way: picked, looked at, drafted, perhaps imported already. After a worker was ended,
// a new one is told all that again.

import { Client, Refusal } from "./client.js";

/** @typedef {import("./ui/pick.js").Selection} Selection */
/** @typedef {import("./ui/plugins.js").Plugin} Plugin */

export class Model {
  /** @param {Client} client */
  constructor(client) {
    this.client = client;
    /** @type {Selection | undefined} */
    this.selection = undefined;
    /** @type {any} */
    this.contents = undefined;
    /** Options that the draft is of. */
    this.drafted = "";
    /** What the draft is like. @type {any} */
    this.draft = undefined;
    /** Options that the store in the browser's storage was written with. */
    this.imported = "";
    /** What is in it. @type {import("./worker/output.js").Written | undefined} */
    this.store = undefined;
    /** @type {File | undefined} */
    this.matrix = undefined;
    /** What a store takes tensors from. @type {Selection | undefined} */
    this.base = undefined;
    /** Plugins, each with the name and the bytes of its file. @type {(Plugin & {file: string, wasm: ArrayBuffer})[]} */
    this.plugins = [];
    /** Most bytes of one. */
    this.pluginBytes = 0;
  }

  /** Starts; answers what there is to choose from. */
  async start() {
    const formats = await this.client.start();
    this.pluginBytes = formats.pluginBytes;
    return formats;
  }

  /** @param {Selection} selection */
  async open(selection) {
    this.selection = undefined;
    this.base = undefined;
    await this.worker();
    await this.client.ask("forget");
    Object.assign(this, { drafted: "", draft: undefined, imported: "", store: undefined });
    this.contents = await this.client.ask("open", selection);
    this.selection = selection;
    return this.contents;
  }

  /** Whether it is a store already, so that nothing has to be imported. */
  isStore() {
    return this.contents?.format === "GMAT store";
  }

  /** Sees to it that exports can be planned. @param {object} options of the import */
  async prepare(options) {
    await this.worker();
    const key = JSON.stringify(options);
    if (this.isStore() || this.drafted === key) return;
    this.draft = await this.client.ask("draft", options);
    this.drafted = key;
    if (this.imported !== key) await this.forget();
  }

  /** Whether weights can be read from a store. @param {object} options of the import */
  isImported(options) {
    return this.isStore() || this.imported === JSON.stringify(options);
  }

  /** Writes the store. @param {object} options */
  async import(options) {
    await this.forget();
    const answer = await this.client.ask("import", options);
    this.store = answer.written;
    this.imported = JSON.stringify(options);
  }

  /** Removes the store that was written. */
  async forget() {
    if (this.store) await this.client.ask("forget");
    this.store = undefined;
    this.imported = "";
  }

  /** @param {File | undefined} file */
  async weigh(file) {
    this.matrix = file;
    await this.worker();
    await this.client.ask("matrix", { file });
  }

  /** Adds a plugin; answers what there is to choose from now. @param {File} file */
  async plug(file) {
    if (file.size > this.pluginBytes) {
      throw new Refusal({
        kind: "limit",
        chain: [`plugin \`${file.name}\``, `the module has ${file.size} bytes; at most ${this.pluginBytes} are accepted`],
        hint: "build it with optimization, and without debug information",
      });
    }
    await this.worker();
    const given = { file: file.name, wasm: await file.arrayBuffer() };
    const { plugin, formats } = await this.load(given);
    // None if it is there already.
    if (plugin) this.plugins.push({ ...plugin, ...given });
    return formats;
  }

  /** @param {{file: string, wasm: ArrayBuffer}} given */
  async load({ file, wasm }) {
    const { plugin, formats } = await this.client.ask("plugin", { name: file, wasm });
    if (plugin) this.client.plugins.set(plugin.number, `\`${plugin.name}\` (\`${file}\`)`);
    this.drafted = "";
    return { plugin, formats };
  }

  /** Removes a plugin; answers what there is to choose from now. @param {string} name */
  async unplug(name) {
    this.plugins = this.plugins.filter((plugin) => plugin.name !== name);
    await this.worker();
    this.drafted = "";
    return this.client.ask("unplug", { name });
  }

  /** Takes the base of the store. @param {Selection} selection */
  async attach(selection) {
    await this.worker();
    await this.client.ask("base", selection);
    this.base = selection;
  }

  /** Starts a worker if there is none, and brings it up to date. */
  async worker() {
    if (this.client.worker) return;
    await this.client.start();
    const { drafted } = this;
    for (const plugin of this.plugins) await this.load(plugin);
    this.drafted = drafted;
    if (!this.selection) return;
    await this.client.ask("open", this.selection);
    if (this.base) await this.client.ask("base", this.base);
    if (this.drafted) await this.client.ask("draft", JSON.parse(this.drafted));
    if (this.store) await this.client.ask("reuse");
    if (this.matrix) await this.client.ask("matrix", { file: this.matrix });
  }
}
