/** The few helpers with which our pages make elements and say times. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element: `h("li", {class: "line", "data-line": id, onclick: f}, "text", child, null)`.
 * `on*` are listeners, true is an empty attribute, null and false leave it out. Text is always text, never markup.
 * @param {string} tag "svg:path" for one of SVG's
 * @param {Record<string, any>} [attributes]
 * @param {...(Node|string|number|null|undefined|false)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children
      .filter((child) => child !== null && child !== undefined && child !== false)
      .map((child) => (typeof child === "number" ? String(child) : /** @type {Node|string} */ (child))),
  );
  return element;
}

/**
 * An icon: one path in a 24 by 24 box, in the colour of the text around it. The label beside it says what it means.
 * @param {string} path
 */
export function icon(path) {
  return h("svg:svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, h("svg:path", { d: path }));
}

/**
 * Put text into an element only if it differs, so that screen readers and selections are left alone.
 * @param {Element} element @param {string|number} text
 */
export function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = String(text);
}

/** @param {number} count @param {string} one @param {string} [many] */
export function count(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

const hours = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const days = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});

/**
 * A `<time>`: hours and minutes today, with the day before that.
 * @param {number} at unix seconds
 */
export function clock(at) {
  const date = new Date(at * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return h("time", { datetime: date.toISOString(), title: date.toLocaleString() }, (today ? hours : days).format(date));
}
