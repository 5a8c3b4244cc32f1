// Plugins that were added: what they bring, and a way to be rid of them.

import { several } from "../format.js";
import { box, button, el } from "./dom.js";

/**
 * @typedef {object} Plugin as the worker describes it
 * @property {number} number
 * @property {string} name
 * @property {string} version
 * @property {string} summary
 * @property {string} blake3
 * @property {string[]} types
 * @property {string[]} blocks
 */

/** @param {Plugin[]} plugins @param {(name: string) => void} remove */
export function show(plugins, remove) {
  box("plugins").hidden = plugins.length === 0;
  box("plugin-list").replaceChildren(...plugins.map((plugin) => {
    const { name, version, summary, blake3, types, blocks } = plugin;
    const away = button("Remove", () => remove(name));
    away.setAttribute("aria-label", `Remove plugin ${name}`);
    const brings = [...types, ...blocks].map((brought) => el("code", { class: "chip mono" }, brought));
    return el("li", { title: `BLAKE3 ${blake3}` },
      el("span", { class: "name" }, `${name} ${version}`.trim(), " ", ...brings),
      ...(summary ? [el("span", { class: "muted" }, summary)] : []),
      away);
  }));
  box("plugin-state").textContent = plugins.length ? several(plugins.length, "plugin") : "none";
}
