/** What was said in a room: a list that stays where the reader is, and counts what came meanwhile. */

import { clock, count, h, icon, say } from "/understudy/dom.js";

/** @typedef {{id: string, key: string, author: string, text: string, at: number}} Line `at` in unix seconds */

/** Lines kept on the page; the oldest go first. */
const MOST = 500;
/** Nearer to the end than this, in pixels, counts as being at the end. */
const NEAR = 40;
/** Lines of one author within so many seconds stand together under one name. */
const TOGETHER = 120;

const ARROW = "M12 4v13m0 0l-6-6m6 6l6-6";

/** Fires `unread` whenever the number of unread lines changes. */
export class Lines extends EventTarget {
  unread = 0;
  /** @type {Map<string, HTMLElement>} */ #items = new Map();
  /** @type {Line|null} */ #last = null;
  #known = false;

  /** @param {Set<string>} mine the keys under which this page's visitor is and was known */
  constructor(mine) {
    super();
    this.mine = mine;
    this.list = h("ol");
    this.log = h("div", { class: "lines", role: "log", "aria-label": "Conversation", tabindex: 0 }, this.list);
    this.empty = h("p", { class: "empty muted" });
    this.more = h("button", { class: "more", type: "button", hidden: true, onclick: () => this.toEnd() });
    this.element = h("div", { class: "talk" }, this.log, this.empty, this.more);
    this.log.addEventListener("scroll", () => this.#seen());
    document.addEventListener("visibilitychange", () => this.#seen());
    for (const width of [60, 85, 45]) {
      const shape = h("span", { class: "skeleton" }, "\u00a0");
      shape.style.width = `${width}%`;
      this.list.append(h("li", { class: "line", "aria-hidden": "true" }, shape));
    }
  }

  /**
   * The room's own record, as told at each join. What was here before stays; if nothing joins it to the record, a mark
   * says that something may be missing.
   * @param {Line[]} history
   */
  recall(history) {
    const first = !this.#known;
    const atEnd = first || this.#atEnd();
    this.#known = true;
    if (first) this.list.replaceChildren();
    const fresh = history.filter(({ id }) => !this.#items.has(id));
    if (this.#items.size > 0 && fresh.length === history.length) {
      const words = "Something may be missing here: you or the room were away for a moment.";
      this.list.append(h("li", { class: "gap small muted", "data-gap": "" }, words));
      this.#last = null;
    }
    for (const line of fresh) this.#add(line, !first);
    this.nothing(this.#items.size === 0 ? "Nobody has said anything yet. Say hello." : "");
    if (atEnd) this.toEnd();
  }

  /** @param {Line} line one more; one that is here already changes nothing */
  append(line) {
    if (this.#items.has(line.id)) return;
    const atEnd = this.#atEnd();
    this.nothing("");
    this.#add(line, !atEnd || document.visibilityState === "hidden");
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  /** @param {string} words shown where lines would be; empty for none */
  nothing(words) {
    say(this.empty, words);
    this.empty.hidden = !words;
    if (!this.#known) this.list.replaceChildren();
  }

  toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
    this.#seen();
  }

  /** @param {Line} line @param {boolean} unseen */
  #add(line, unseen) {
    const { id, key, author, text, at } = line;
    const mine = this.mine.has(key);
    const follows = this.#last?.key === key && this.#last.author === author && at - this.#last.at < TOGETHER;
    const by = h("p", { class: "by small" }, h("b", { class: "cut", title: author }, author), " ", clock(at));
    const item = h("li", { class: "line", "data-line": id, "data-mine": mine, "data-follows": follows });
    item.append(by, h("p", { class: "text" }, text));
    this.list.append(item);
    this.#items.set(id, item);
    this.#last = line;
    if (this.#items.size > MOST) this.#forget();
    if (unseen && !mine) this.#count(this.unread + 1);
  }

  #forget() {
    const [id] = this.#items.keys();
    this.#items.get(id)?.remove();
    this.#items.delete(id);
    while (this.list.firstElementChild?.hasAttribute("data-gap")) this.list.firstElementChild.remove();
  }

  #atEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < NEAR;
  }

  #seen() {
    if (this.unread > 0 && this.#atEnd() && document.visibilityState === "visible") this.#count(0);
  }

  /** @param {number} unread */
  #count(unread) {
    this.unread = unread;
    this.more.hidden = unread === 0;
    if (unread > 0) this.more.replaceChildren(icon(ARROW), count(unread, "new line"));
    this.dispatchEvent(new Event("unread"));
  }
}
