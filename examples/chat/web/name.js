/** What a visitor is called: the name chosen here before, else a part in the house, one per tab. */

const PARTS = ["Usher", "Prompter", "Stagehand", "Dresser", "Lamplighter", "Fiddler", "Carpenter", "Regular"];
const KEY = "understudy.name";

/** @param {"localStorage"|"sessionStorage"} kind @returns {Storage|null} null where the browser forbids it */
function storage(kind) {
  try {
    return window[kind];
  } catch {
    return null;
  }
}

export function chosenName() {
  const known = storage("localStorage")?.getItem(KEY) ?? storage("sessionStorage")?.getItem(KEY);
  if (known) return known;
  const name = `${PARTS[Math.floor(Math.random() * PARTS.length)]} ${10 + Math.floor(Math.random() * 90)}`;
  storage("sessionStorage")?.setItem(KEY, name);
  return name;
}

/** @param {string} name @returns {string} */
export function rememberName(name) {
  storage("localStorage")?.setItem(KEY, name);
  return name;
}
