/**
 * A room as split panes, in the way of ytalk: everybody here has one, and in it stands what they say, letter by letter, as they
 * write it and take it back. The light is on those who write.
 *
 * A pane keeps its place. When more are here than there is room for, who has been quiet longest gives theirs to who writes.
 */

import { count, h, say } from "/understudy/dom.js";
import { face, words } from "./face.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

/** Panes at most. */
const MOST = 9;
/** Lines of each. */
const LINES = 12;

export class Panes {
  /** @type {Map<string, {pane: HTMLElement, wrote: number}>} */ #panes = new Map();
  #clock = 0;

  /** @param {Conversation} conversation @param {AbortSignal} signal ends it */
  constructor(conversation, signal) {
    this.conversation = conversation;
    this.list = h("ul", { class: "panes-list", "aria-label": `People in ${conversation.name}, each with a pane` });
    this.empty = h("p", { class: "empty" });
    this.others = h("p", { class: "others small muted" });
    this.element = h("div", { class: "panes" }, this.list, this.empty, this.others);
    this.mine = h("ol", { class: "mine", "aria-label": "What you said" });
    /** @param {string} what @param {(event: any) => void} act */
    const on = (what, act) => conversation.addEventListener(what, act, { signal });
    on("people", () => this.#people());
    on("lines", () => this.#lines());
    on("drafts", ({ detail: key }) => this.#draft(key));
    on("unsent", () => this.#own());
    this.#people();
  }

  /** It stands in the page now: to the end of each. */
  shown() {
    for (const { pane } of this.#panes.values()) toEnd(pane.querySelector(".pane-said"));
    toEnd(this.mine);
  }

  #people() {
    const { people, key: me } = this.conversation;
    for (const key of [...this.#panes.keys()]) if (!people.has(key)) this.#remove(key);
    for (const key of people.keys()) {
      if (key !== me && !this.#panes.has(key) && this.#panes.size < MOST) this.#add(key);
    }
    for (const [key, { pane }] of this.#panes) say(pane.querySelector("b") ?? pane, people.get(key)?.name ?? "");
    const quiet = people.size - this.#panes.size - (people.has(me) ? 1 : 0);
    say(this.others, quiet > 0 ? `and ${count(quiet, "other")}, who will have a pane when they write` : "");
    say(this.empty, this.#panes.size === 0 ? "You are alone on this stage. Whoever comes has a pane here, and you see each letter." : "");
    this.#lines();
  }

  /** @param {string} key */
  #add(key) {
    const name = this.conversation.people.get(key)?.name ?? "";
    const text = h("p", { class: "text live" }, h("span", { class: "letters" }), h("i", { class: "caret" }));
    const head = h("p", { class: "pane-head small" }, face(key, name), h("b", { class: "cut" }, name), h("span", { class: "state" }));
    const said = h("div", { class: "pane-said" }, h("ol", {}), text);
    const pane = h("li", { class: "pane", "data-pane": key }, head, said);
    this.#panes.set(key, { pane, wrote: 0 });
    this.list.append(pane);
    this.#fill(key);
    this.#draft(key);
  }

  /** @param {string} key */
  #remove(key) {
    this.#panes.get(key)?.pane.remove();
    this.#panes.delete(key);
  }

  #lines() {
    for (const key of this.#panes.keys()) this.#fill(key);
    this.#own();
  }

  /** @param {string} key */
  #fill(key) {
    const pane = this.#panes.get(key)?.pane;
    if (pane) fill(pane.querySelector("ol"), this.#said(key));
  }

  #own() {
    const unsent = this.conversation.unsent.map(({ id, text }) => ({ id, text }));
    fill(this.mine, [...this.#said(this.conversation.key), ...unsent].slice(-4));
  }

  /** @param {string} key */
  #said(key) {
    return this.conversation.lines.filter((line) => line.key === key).slice(-LINES);
  }

  /** @param {string} key */
  #draft(key) {
    const draft = this.conversation.drafts.get(key);
    if (draft && !this.#panes.has(key) && this.conversation.people.has(key)) this.#makeRoom(key);
    const entry = this.#panes.get(key);
    if (!entry) return;
    if (draft) entry.wrote = ++this.#clock;
    entry.pane.toggleAttribute("data-writing", Boolean(draft));
    say(entry.pane.querySelector(".letters") ?? entry.pane, draft?.text ?? "");
    say(entry.pane.querySelector(".state") ?? entry.pane, draft ? "writing" : "");
    toEnd(entry.pane.querySelector(".pane-said"));
  }

  /** @param {string} key of somebody who writes and has no pane */
  #makeRoom(key) {
    const { drafts } = this.conversation;
    const [quiet] = [...this.#panes].filter(([key]) => !drafts.has(key)).sort(([, a], [, b]) => a.wrote - b.wrote);
    if (this.#panes.size >= MOST && !quiet) return;
    if (this.#panes.size >= MOST) this.#remove(quiet[0]);
    this.#add(key);
  }
}

/** Lines of a list, those that stay left as they are. @param {Element|null} list @param {{id: string, text: string}[]} lines */
function fill(list, lines) {
  if (!list) return;
  const here = new Map([...list.children].map((item) => [/** @type {HTMLElement} */ (item).dataset.said, item]));
  const items = lines.map(({ id, text }) => here.get(id) ?? h("li", { class: "text", "data-said": id }, ...words(text)));
  if (items.length === here.size && items.every((item) => item.parentElement === list)) return;
  list.replaceChildren(...items);
  toEnd(list.closest(".pane-said") ?? list);
}

/** @param {Element|null} box */
function toEnd(box) {
  if (box) box.scrollTop = box.scrollHeight;
}
