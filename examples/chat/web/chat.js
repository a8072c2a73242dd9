/**
 * A chat room as a component: give it an element and a socket. Shows what the room says, who is here and who types.
 *
 *     join room:<name> {name}  ->  {key, history}      presence_state, presence_diff: who is here
 *     say {text}               ->  {id}                line: one more line, to everybody
 *     typing {typing}                                  typing: somebody else begins or stops
 */

import { clock, count, h, icon, say } from "/understudy/dom.js";
import { Presence } from "/understudy/understudy.js";
import { chosenName, rememberName } from "./name.js";

/** @typedef {{id: string, key: string, author: string, text: string, at: number}} Line `at` in unix seconds */

/** Lines kept on the page; the oldest go first. */
const MOST = 500;
/** Say again that one still types after this; forget a typist who has not said so for twice as long. Milliseconds. */
const TYPING = 3_000;
/** Nearer to the end than this, in pixels, counts as being at the end. */
const NEAR = 40;

const ARROW = "M12 4v13m0 0l-6-6m6 6l6-6";

export class Chat extends EventTarget {
  unread = 0;
  /** @type {Map<string, Line>} */ #lines = new Map();
  /** @type {Map<string, {name: string, timer: ReturnType<typeof setTimeout>}>} */ #typists = new Map();
  /** @type {Set<string>} */ #mine = new Set();
  #typingSince = -Infinity; // not typing
  #known = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #pause;

  /**
   * Fires `unread` (with `.unread` lines not yet seen) whenever that changes.
   * @param {HTMLElement} host is filled
   * @param {import("/understudy/understudy.js").Socket} socket
   * @param {string} [room]
   */
  constructor(host, socket, room = "lobby") {
    super();
    this.host = host;
    this.name = chosenName();
    this.channel = socket.channel(`room:${room}`, () => ({ name: this.name }));
    this.#build();
    this.presence = new Presence(this.channel, (state, diff) => this.#present(state, diff));
    this.channel.on("line", (line) => this.#append(line));
    this.channel.on("typing", (typist) => this.#types(typist));
    this.channel.onState((status) => this.#changed(status));
    document.addEventListener("visibilitychange", () => this.#seen());
    this.channel.join();
  }

  #build() {
    const { host } = this;
    host.classList.add("chat");
    this.people = h("ul", { class: "people", "aria-label": "Who is here" });
    this.headcount = h("span", { class: "muted small figures" });
    this.list = h("ol", { class: "lines", tabindex: 0, role: "log", "aria-live": "polite", "aria-label": "Conversation", onscroll: () => this.#seen() });
    this.empty = h("p", { class: "empty muted" });
    this.more = h("button", { class: "more", type: "button", hidden: true, onclick: () => this.#toEnd() });
    this.typing = h("p", { class: "typing muted cut", "data-typing": "" });
    this.input = h("textarea", {
      id: "chat-input", rows: 1, maxlength: 2000, placeholder: "Say something", "aria-label": "Your message", "aria-describedby": "chat-trouble", enterkeyhint: "send",
      oninput: () => this.#typed(), onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event), onblur: () => this.#rest(),
    });
    this.send = h("button", { id: "chat-send", type: "submit" }, "Send");
    this.trouble = h("p", { id: "chat-trouble", class: "trouble", role: "status" });
    this.me = h("input", { id: "chat-name", class: "me", maxlength: 40, autocomplete: "nickname", "aria-label": "Your name", onchange: () => this.rename(this.me.value), onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && this.#unname() });
    this.me.value = this.name;
    this.form = h("form", { class: "say", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); this.#submit(); } }, this.input, this.send);
    const who = h("form", { class: "who small muted", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); this.me.blur(); } }, h("label", { for: "chat-name" }, "You are"), this.me);
    host.replaceChildren(
      h("div", { class: "present" }, this.headcount, this.people),
      h("div", { class: "talk" }, this.list, this.empty, this.more),
      h("div", { class: "status small" }, this.typing, this.trouble), this.form, who,
    );
    for (const width of [60, 85, 45]) {
      const ghost = h("li", { class: "line", "aria-hidden": "true" }, h("span", { class: "skeleton" }, "\u00a0"));
      ghost.firstChild.style.width = `${width}%`;
      this.list.append(ghost);
    }
  }

  /** Come back under another name. @param {string} name */
  rename(name) {
    const wanted = name.trim();
    if (!wanted || wanted === this.name) return this.#unname();
    this.name = rememberName(wanted);
    this.me.value = wanted;
    this.channel.join();
  }

  #unname() {
    this.me.value = this.name;
  }

  /** @param {import("/understudy/understudy.js").ChannelStatus} status */
  #changed({ state, response, reason }) {
    this.host.dataset.state = state;
    this.send.disabled = state !== "joined";
    if (state === "joined") {
      this.#mine.add(response.key);
      this.#recall(response.history);
      this.#present(this.presence.state, { joins: {}, leaves: {} });
      this.#trouble("");
    } else if (state === "denied") {
      this.#trouble(`The room did not let you in: ${reason}`);
      if (!this.#known) this.#lineless("You are not in this room.");
    } else if (state === "waiting") {
      this.#trouble("Not connected. What you write stays here.");
      for (const key of [...this.#typists.keys()]) this.#types({ key, name: "", typing: false });
    }
  }

  /** The room's own record, after each join. Lines from before a gap stay, under a mark that says so. @param {Line[]} history */
  #recall(history) {
    const first = !this.#known;
    const atEnd = this.#atEnd();
    if (first) this.list.replaceChildren();
    this.#known = true;
    const fresh = history.filter((line) => !this.#lines.has(line.id));
    if (!first && this.#lines.size > 0 && fresh.length === history.length) {
      this.list.append(h("li", { class: "gap small muted", "data-gap": "" }, "Something may be missing here: you or the room were away for a moment."));
    }
    for (const line of fresh) this.#add(line, !first);
    this.#lineless(this.#lines.size === 0 ? "Nobody has said anything yet. Say hello." : "");
    if (first || atEnd) this.#toEnd();
  }

  /** @param {Line} line */
  #append(line) {
    if (this.#lines.has(line.id)) return;
    const atEnd = this.#atEnd();
    this.#lineless("");
    this.#types({ key: line.key, name: line.author, typing: false });
    this.#add(line, !(atEnd && document.visibilityState === "visible"));
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  /** @param {Line} line @param {boolean} unseen */
  #add(line, unseen) {
    const before = this.#lastLine();
    this.#lines.set(line.id, line);
    const mine = this.#mine.has(line.key);
    const follows = before !== undefined && before.key === line.key && line.at - before.at < 120 && !this.list.lastElementChild?.hasAttribute("data-gap");
    this.list.append(
      h("li", { class: "line", "data-line": line.id, "data-mine": mine, "data-follows": follows },
        h("p", { class: "by small" }, h("b", { class: "cut", title: line.author }, line.author), " ", clock(line.at)),
        h("p", { class: "text" }, line.text)),
    );
    if (this.#lines.size > MOST) {
      this.#lines.delete(/** @type {string} */ (this.#lines.keys().next().value));
      this.list.firstElementChild?.remove();
    }
    if (unseen && !mine) this.#count(this.unread + 1);
  }

  #lastLine() {
    const last = /** @type {HTMLElement|undefined} */ ([...this.list.children].findLast((item) => item.hasAttribute("data-line")));
    return last && this.#lines.get(last.dataset.line ?? "");
  }

  /** @param {string} words shown instead of lines; empty: nothing */
  #lineless(words) {
    say(this.empty, words);
    this.empty.hidden = !words;
    if (words && !this.#known) this.list.replaceChildren();
  }

  #atEnd() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR;
  }

  #toEnd() {
    this.list.scrollTop = this.list.scrollHeight;
    this.#seen();
  }

  #seen() {
    if (this.unread > 0 && this.#atEnd() && document.visibilityState === "visible") this.#count(0);
  }

  /** @param {number} unread */
  #count(unread) {
    this.unread = unread;
    this.more.hidden = unread === 0;
    const arrow = icon(ARROW);
    if (unread > 0) this.more.replaceChildren(arrow, count(unread, "new line"));
    this.dispatchEvent(new Event("unread"));
  }

  /** @param {import("/understudy/presence.js").PresenceState} state @param {import("/understudy/presence.js").PresenceDiff} diff */
  #present(state, diff) {
    const everybody = Object.entries(state).map(([key, { metas }]) => ({ key, name: String(metas.at(-1)?.name ?? key) }));
    say(this.headcount, `${everybody.length} here`);
    const shown = new Map([...this.people.children].map((item) => [/** @type {HTMLElement} */ (item).dataset.person, item]));
    for (const [key, item] of shown) if (!state[key ?? ""]) item.remove();
    for (const { key, name } of everybody) {
      const item = shown.get(key) ?? h("li", { class: "cut", "data-person": key });
      item.toggleAttribute("data-me", this.#mine.has(key));
      say(item, name);
      item.title = name;
      if (!item.isConnected) this.#mine.has(key) ? this.people.prepend(item) : this.people.append(item);
    }
    for (const key of Object.keys(diff.leaves)) if (!state[key]) this.#types({ key, name: "", typing: false });
  }

  /** @param {{key: string, name: string, typing: boolean}} typist */
  #types({ key, name, typing }) {
    clearTimeout(this.#typists.get(key)?.timer);
    this.#typists.delete(key);
    if (typing && !this.#mine.has(key)) {
      this.#typists.set(key, { name, timer: setTimeout(() => this.#types({ key, name, typing: false }), 2 * TYPING) });
    }
    const names = [...this.#typists.values()].map((one) => one.name);
    say(this.typing, names.length === 0 ? "" : names.length === 1 ? `${names[0]} is typing` : names.length === 2 ? `${names[0]} and ${names[1]} are typing` : `${names.length} people are typing`);
    this.typing.dataset.typing = [...this.#typists.keys()].join(" ");
  }

  #typed() {
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight + 2}px`;
    clearTimeout(this.#pause);
    if (!this.input.value.trim()) return this.#rest();
    this.#pause = setTimeout(() => this.#rest(), TYPING);
    if (performance.now() - this.#typingSince > TYPING) this.#tellTyping(true);
  }

  /** Not typing any more. */
  #rest() {
    clearTimeout(this.#pause);
    if (this.#typingSince > -Infinity) this.#tellTyping(false);
  }

  /** @param {boolean} typing */
  #tellTyping(typing) {
    this.#typingSince = typing ? performance.now() : -Infinity;
    this.channel.push("typing", { typing }).catch(() => undefined); // only a hint: lost, it costs nothing
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#submit();
  }

  /** The text stays in the box until the room has taken it, so that nothing written is ever lost. */
  async #submit() {
    const text = this.input.value.trim();
    if (!text || this.input.readOnly) return;
    this.input.readOnly = true;
    this.#rest();
    try {
      await this.channel.push("say", { text });
      this.input.value = "";
      this.#typed();
      this.#trouble("");
      this.#toEnd();
    } catch (error) {
      const { kind, message } = /** @type {import("/understudy/understudy.js").PushError} */ (error);
      this.#trouble(kind === "refused" ? `Not sent: ${message}` : kind === "timeout" ? "The room did not answer; your line may not have arrived." : "Not sent: you are not connected.");
    } finally {
      this.input.readOnly = false;
    }
  }

  /** @param {string} words */
  #trouble(words) {
    say(this.trouble, words);
  }
}
