/**
 * What is said in a room, as one conversation: lines under their days, what is being written below them, letter by letter,
 * and the visitor's own lines that the room has not taken yet.
 *
 * It stays where the reader is. At its end it follows what comes; elsewhere it stands still, says how much came meanwhile,
 * and fetches what is earlier when its beginning comes into sight.
 */

import { clock, count, h, icon, say } from "/understudy/dom.js";
import { face, words } from "./face.js";

/** @typedef {import("./conversation.js").Line} Line */
/** @typedef {import("./conversation.js").Conversation} Conversation */

/** Nearer to the end than this, in pixels, counts as being at the end. */
const NEAR = 40;
/** Nearer to the beginning than this, what is earlier is fetched. */
const EARLY = 300;
/** Lines of one author within so many seconds stand together under one name. */
const TOGETHER = 240;

const GAP = "The room began anew here; what was said shortly before may be missing.";

const ARROW = "M12 4v13m0 0l-6-6m6 6l6-6";

export class Talk {
  /** @type {Map<string, HTMLElement>} */ #items = new Map();
  /** The first line that was unread when reading stopped. */ #mark = "";
  #following = true;

  /** @param {Conversation} conversation @param {AbortSignal} signal ends it */
  constructor(conversation, signal) {
    this.conversation = conversation;
    this.before = h("p", { class: "before small muted" });
    this.list = h("ol");
    this.log = h("div", { role: "log", "aria-label": `What is said in ${conversation.name}` }, this.list);
    this.unsent = h("ul", { class: "unsent", "aria-label": "Not sent yet" });
    this.drafts = h("ul", { class: "drafts", "aria-label": "Being written", "aria-live": "off" });
    this.content = h("div", { class: "content" }, this.before, this.log, this.unsent, this.drafts);
    this.scroll = h(
      "div",
      { class: "lines", role: "region", "aria-label": `Conversation in ${conversation.name}`, tabindex: 0 },
      this.content,
    );
    this.empty = h("p", { class: "empty muted" });
    this.more = h("button", { class: "more", type: "button", hidden: true, onclick: () => this.toEnd() });
    this.element = h("div", { class: "talk" }, this.scroll, this.empty, this.more);

    const sizes = new ResizeObserver(() => this.#following && this.#follow());
    sizes.observe(this.content);
    sizes.observe(this.scroll);
    signal.addEventListener("abort", () => sizes.disconnect());
    this.scroll.addEventListener("scroll", () => this.#scrolled());
    document.addEventListener("visibilitychange", () => this.#read(), { signal });
    /** @param {string} what @param {(event: any) => void} act */
    const on = (what, act) => conversation.addEventListener(what, act, { signal });
    on("lines", ({ detail: { added, where } }) => this.#lines(added, where));
    on("drafts", ({ detail: key }) => this.#draft(key));
    on("unsent", () => this.#showUnsent());
    on("unread", () => this.#showMore());
    on("status", () => this.#status());
    if (conversation.known) this.#lines(conversation.lines, "anew");
    else this.#skeleton();
    for (const key of conversation.drafts.keys()) this.#draft(key);
    this.#showUnsent();
    this.#status();
  }

  /** It stands in the page now: to the first unread line, or to the end. */
  shown() {
    const mark = this.#items.get(this.#mark);
    this.#follow();
    if (mark && mark.offsetTop < this.scroll.scrollTop) {
      this.scroll.scrollTop = mark.offsetTop - this.scroll.clientHeight / 4;
      this.#following = this.#atEnd();
    }
    this.#read();
  }

  toEnd() {
    this.#follow();
    this.#read();
  }

  // --- lines ---

  /** @param {Line[]} added @param {"end"|"start"|"anew"} where */
  #lines(added, where) {
    if (where === "end") this.#append(added);
    else this.#quietly(() => (where === "start" ? this.#prepend(added.length) : this.#anew()));
    this.#showMore();
    this.#showEmpty();
  }

  /** @param {Line[]} added */
  #append(added) {
    const { conversation } = this;
    const others = added.filter(({ key }) => key !== conversation.key);
    const watched = this.#following && document.visibilityState === "visible";
    if (others.length < added.length) this.#setMark("");
    else if (!watched && conversation.unread === others.length) this.#mark = others[0].id;
    for (const { key } of added) this.#endDraft(key);
    for (let at = conversation.lines.length - added.length; at < conversation.lines.length; at++) {
      this.list.append(this.#item(at));
    }
    if (!this.#following) return;
    for (const { id } of conversation.trim()) this.#drop(id);
    this.#showBefore();
    this.#follow();
    this.#read();
  }

  /** The reader's lines stay where they are, also if the first of them loses its day. @param {number} count */
  #prepend(count) {
    const [first] = this.list.children;
    const { bottom } = first.getBoundingClientRect();
    first.before(...Array.from({ length: count }, (_, at) => this.#item(at)));
    this.#place(count);
    this.#showBefore();
    this.scroll.scrollTop += first.getBoundingClientRect().bottom - bottom;
  }

  #anew() {
    this.#items.clear();
    this.#mark = this.conversation.firstUnread?.id ?? "";
    this.list.replaceChildren(...this.conversation.lines.map((_, at) => this.#item(at)));
    this.#showBefore();
    this.shown();
  }

  /** What is read aloud is what comes, not what was here before. @param {() => void} change */
  #quietly(change) {
    this.log.setAttribute("aria-live", "off");
    change();
    setTimeout(() => this.log.removeAttribute("aria-live"), 100);
  }

  /** @param {number} at @returns {HTMLElement} */
  #item(at) {
    const { id, key, author, text, at: when } = this.conversation.lines[at];
    const by = h("p", { class: "by small" }, h("b", { class: "cut", title: author }, author), " ", clock(when));
    const item = h("li", { class: "line", "data-line": id, "data-mine": key === this.conversation.key });
    item.append(h("div", { class: "marks" }), face(key, author), by, h("p", { class: "text" }, ...words(text)));
    this.#items.set(id, item);
    this.#place(at);
    return item;
  }

  /** How a line stands to the one before: under its name, or a new day, or the first unread one. @param {number} at */
  #place(at) {
    const line = this.conversation.lines[at];
    const before = this.conversation.lines[at - 1];
    const item = line && this.#items.get(line.id);
    if (!item) return;
    const marks = [];
    if (!before || dayOf(before) !== dayOf(line)) marks.push(h("p", { class: "day small muted" }, dayOf(line)));
    if (line.gap) marks.push(h("p", { class: "gap small muted", "data-gap": "" }, GAP));
    if (line.id === this.#mark) marks.push(h("p", { class: "new small", "data-new": "" }, "New"));
    item.querySelector(".marks")?.replaceChildren(...marks);
    const together = before?.key === line.key && before.author === line.author && line.at - before.at < TOGETHER;
    item.toggleAttribute("data-follows", together && marks.length === 0);
  }

  /** @param {string} id of the first unread line, or none */
  #setMark(id) {
    if (id === this.#mark) return;
    const changed = [this.#mark, id];
    this.#mark = id;
    for (const [at, line] of this.conversation.lines.entries()) if (changed.includes(line.id)) this.#place(at);
  }

  /** @param {string} id */
  #drop(id) {
    this.#items.get(id)?.remove();
    this.#items.delete(id);
    this.#place(0);
  }

  #showEmpty() {
    const { known, lines, unsent, drafts, status } = this.conversation;
    const nothing = known && lines.length + unsent.length + drafts.size === 0;
    say(this.empty, nothing ? "Nobody has said anything here yet. The first line is yours." : "");
    if (!known && status.state === "denied") say(this.empty, `This room does not let you in: ${status.reason}.`);
  }

  /** Lines in the shape they will have. */
  #skeleton() {
    const shapes = [62, 84, 38, 71, 52].map((width) => {
      const shape = h("span", { class: "skeleton" }, "\u00a0");
      shape.style.width = `${width}%`;
      return h("li", { class: "line", "aria-hidden": "true" }, h("span", { class: "face skeleton" }), shape);
    });
    this.list.replaceChildren(...shapes);
  }

  // --- what is earlier ---

  /** @param {string} [trouble] */
  #showBefore(trouble) {
    const { known, earlier, lines } = this.conversation;
    const again = h("button", { class: "quiet", type: "button", onclick: () => this.#back() }, "Earlier lines");
    if (trouble) this.before.replaceChildren(`Earlier lines could not be had: ${trouble}. `, again);
    else if (earlier) this.before.replaceChildren(again);
    else say(this.before, known && lines.length > 0 ? "The first line that this room remembers." : "");
  }

  async #back() {
    const reached = document.activeElement?.closest(".before");
    try {
      await this.conversation.back();
    } catch (error) {
      this.#showBefore(/** @type {Error} */ (error).message);
    }
    if (reached && !document.activeElement?.closest(".before")) this.scroll.focus({ preventScroll: true });
  }

  // --- what is being written, and what is not sent ---

  /** @param {string} key */
  #draft(key) {
    const draft = this.conversation.drafts.get(key);
    if (!draft) return this.#endDraft(key);
    const item = this.#drafting(key) ?? this.#startDraft(draft);
    say(item.querySelector("b"), draft.name);
    item.toggleAttribute("data-hidden", draft.text === null);
    say(item.querySelector(".letters"), draft.text ?? "is writing");
    this.#showEmpty();
  }

  /** @param {string} key */
  #drafting(key) {
    return [...this.drafts.children].find((item) => item.dataset.draft === key);
  }

  /** @param {import("./conversation.js").Draft} draft */
  #startDraft({ key, name }) {
    const text = h("p", { class: "text" }, h("span", { class: "letters" }), h("i", { class: "caret" }));
    const by = h("p", { class: "by small" }, h("b", { class: "cut" }), " ", h("span", {}, "writing"));
    const item = h("li", { class: "line draft", "data-draft": key }, face(key, name), by, text);
    this.drafts.append(item);
    return item;
  }

  /** @param {string} key */
  #endDraft(key) {
    this.#drafting(key)?.remove();
    this.#showEmpty();
  }

  #showUnsent() {
    const { unsent, me, key, status } = this.conversation;
    const where = status.state === "joined" ? "Sending" : "Goes out as soon as you are connected";
    this.unsent.replaceChildren(
      ...unsent.map(({ id, text, refused }) => {
        const state = refused ? `Not sent: ${refused}` : where;
        const item = h("li", { class: "line", "data-unsent": id, "data-refused": Boolean(refused) });
        item.append(
          face(key, me.name),
          h("p", { class: "by small" }, h("b", { class: "cut" }, me.name), " ", h("span", {}, state)),
          h("p", { class: "text" }, text),
        );
        if (refused) item.append(this.#takeBack(id));
        return item;
      }),
    );
    this.#showEmpty();
    if (unsent.length > 0) this.#follow();
  }

  /** @param {string} id */
  #takeBack(id) {
    const act = () => this.element.dispatchEvent(new CustomEvent("takeback", { detail: id, bubbles: true }));
    return h("button", { class: "quiet", type: "button", onclick: act }, "Back to the box");
  }

  // --- where the reader is ---

  #status() {
    if (!this.conversation.known) this.#showEmpty();
    this.#showUnsent();
  }

  #atEnd() {
    return this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < NEAR;
  }

  #scrolled() {
    this.#following = this.#atEnd();
    this.#showMore();
    this.#read();
    if (this.scroll.scrollTop < EARLY && this.conversation.earlier && this.element.isConnected) this.#back();
  }

  /** To the end, and on with it. */
  #follow() {
    this.#following = true;
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  /** What stands before a reader's eyes at the end has been read. */
  #read() {
    if (!this.element.isConnected || !this.#following || document.visibilityState !== "visible") return;
    if (this.conversation.unread > 0 || this.conversation.known) this.conversation.seen();
  }

  #showMore() {
    const { unread } = this.conversation;
    this.more.hidden = this.#following;
    const words = unread > 0 ? count(unread, "new line") : "To the end";
    if (this.more.textContent !== words) this.more.replaceChildren(icon(ARROW), words);
    this.more.toggleAttribute("data-unread", unread > 0);
  }
}

/** @param {Line} line */
function dayOf({ at }) {
  const date = new Date(at * 1000);
  const days = (Date.now() - at * 1000) / 86_400_000;
  if (date.toDateString() === new Date().toDateString()) return "Today";
  if (date.toDateString() === new Date(Date.now() - 86_400_000).toDateString()) return "Yesterday";
  const weekday = /** @type {const} */ ({ weekday: "long", day: "numeric", month: "long" });
  return date.toLocaleDateString("en", days < 300 ? weekday : { ...weekday, year: "numeric" });
}
