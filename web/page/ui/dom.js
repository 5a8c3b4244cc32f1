// Elements: found by id, with their type checked, and made.

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`#${id} is missing`);
  return found;
}

/** @param {string} id */
export function box(id) {
  return byId(id, HTMLElement);
}

/**
 * An element with attributes and content; texts are never taken for HTML.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Record<string, string>} attributes
 * @param {(Node | string)[]} content
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

/** A button. @param {string} text @param {() => void} click @param {string} [kind] */
export function button(text, click, kind = "") {
  const made = el("button", { type: "button", class: kind }, text);
  made.addEventListener("click", click);
  return made;
}

/** A text in which `` `code` `` is marked as such. @param {string} text */
export function marked(text) {
  return text.split(/`([^`]*)`/).map((part, at) => (at % 2 ? el("code", {}, part) : part));
}
