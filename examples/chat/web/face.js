/** How a person looks: a disc in a colour of their own with their initial, and words in which links can be followed. */

import { h } from "/understudy/dom.js";

/** @param {string} key @param {string} name @returns {HTMLElement} nothing to be read aloud: the name stands beside it */
export function face(key, name) {
  const element = h("span", { class: "face", "aria-hidden": "true" }, initial(name));
  element.style.setProperty("--hue", String(hue(key)));
  return element;
}

/** @param {string} name */
export const initial = (name) => (name.match(/\p{L}|\p{N}/u)?.[0] ?? "?").toUpperCase();

/** @param {string} key @returns {number} degrees, the same for a key wherever it is shown */
export function hue(key) {
  let sum = 0;
  for (const char of key) sum = (sum * 31 + char.charCodeAt(0)) % 3600;
  return (sum * 47) % 360;
}

/**
 * A text with its links. Anything that is not plainly an address of the web stays text.
 * @param {string} text
 * @returns {(string|Node)[]}
 */
export function words(text) {
  return text.split(/(https?:\/\/[^\s<>"']*[^\s<>"'.,:;!?)\]])/u).map((part, number) => {
    if (number % 2 === 0 || !URL.canParse(part)) return part;
    return h("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part);
  });
}

