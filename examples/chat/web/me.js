/** Who the visitor is: a name, a secret that makes all windows of this browser one person, and whether others see each letter. */

const PARTS = ["Usher", "Prompter", "Stagehand", "Dresser", "Lamplighter", "Fiddler", "Carpenter", "Regular"];
const NAME = "understudy.name";
const SECRET = "understudy.me";
const LETTERS = "understudy.letters";

/** @param {"localStorage"|"sessionStorage"} kind @returns {Storage|null} null where the browser forbids it */
function storage(kind) {
  try {
    return window[kind];
  } catch {
    return null;
  }
}

/** @param {number} words of 32 random bits @returns {string} of which there is no second */
export const chance = (words) =>
  [...crypto.getRandomValues(new Uint32Array(words))].map((word) => word.toString(36).padStart(7, "0")).join("");

/** What this browser keeps from one visit to the next. @param {string} key @returns {string|null} */
export const kept = (key) => storage("localStorage")?.getItem(key) ?? null;

/** What it keeps as JSON; null if that is nothing, or nothing that can be read. @param {string} key @returns {any} */
export function keptJson(key) {
  try {
    return JSON.parse(kept(key) ?? "null");
  } catch {
    return null;
  }
}

/** @param {string} key @param {string} value */
export function keep(key, value) {
  try {
    storage("localStorage")?.setItem(key, value);
  } catch {
    // full: for this visit only
  }
}

/** Fires `name` and `letters` when they change. */
export class Me extends EventTarget {
  /** @param {{name?: string, secret?: string, letters?: boolean}} [known] in place of what the browser keeps */
  constructor({ name, secret, letters } = {}) {
    super();
    this.name = name ?? kept(NAME) ?? partOfThisWindow();
    this.secret = secret ?? kept(SECRET) ?? chance(5);
    this.letters = letters ?? kept(LETTERS) !== "no";
    if (!secret) keep(SECRET, this.secret);
  }

  /** @param {string} name @returns {boolean} whether that is a new one */
  rename(name) {
    const wanted = name.trim().slice(0, 40);
    if (!wanted || wanted === this.name) return false;
    this.name = wanted;
    keep(NAME, wanted);
    this.dispatchEvent(new Event("name"));
    return true;
  }

  /** @param {boolean} letters whether others see each letter while it is typed, or only that something is */
  show(letters) {
    this.letters = letters;
    keep(LETTERS, letters ? "yes" : "no");
    this.dispatchEvent(new Event("letters"));
  }
}

/** Who has chosen no name has a part in the house, one per window. */
function partOfThisWindow() {
  const known = storage("sessionStorage")?.getItem(NAME);
  if (known) return known;
  const name = `${PARTS[Math.floor(Math.random() * PARTS.length)]} ${10 + Math.floor(Math.random() * 90)}`;
  storage("sessionStorage")?.setItem(NAME, name);
  return name;
}
