/**
 * A chat room as a component: give it an element and a socket. Shows what the room says, who is here and who types.
 *
 *     join room:<name> {name}  ->  {key, history}      presence_state, presence_diff: who is here
 *     say {text, id}           ->  {id}                line: one more line, to everybody, once however often it is said
 *     typing {typing}          ->  {}                  typing: somebody else begins or stops
 */

import { h, say } from "/understudy/dom.js";
import { Presence } from "/understudy/understudy.js";
import { Lines } from "./lines.js";
import { chosenName, rememberName } from "./name.js";

/** Say again that one still types after this; forget a typist who has not for twice as long. Milliseconds. */
const TYPING = 3_000;

/** Ask again for a line that was not answered, after this. Milliseconds. */
const AGAIN = 1_000;

/** @returns {string} an id for a line, of which there is no second */
const newId = () => [...crypto.getRandomValues(new Uint32Array(3))].map((part) => part.toString(36)).join("");

/** @param {() => void} act @returns {(event: Event) => void} a form's submit that stays on the page */
const instead = (act) => (event) => {
  event.preventDefault();
  act();
};

export class Chat {
  /** @type {Map<string, {name: string, timer: ReturnType<typeof setTimeout>}>} */ #typists = new Map();
  /** @type {Set<string>} */ #mine = new Set();
  #joinedOnce = false;
  #typingSince = -Infinity; // not typing
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #pause;
  /** @type {{id: string, text: string}|null} what the room has not taken yet, and may have */ #unsent = null;
  #sending = false;

  /**
   * @param {HTMLElement} host is filled
   * @param {import("/understudy/understudy.js").Socket} socket
   * @param {string} [room]
   */
  constructor(host, socket, room = "lobby") {
    this.host = host;
    this.name = chosenName();
    this.lines = new Lines(this.#mine);
    this.#build();
    this.channel = socket.channel(`room:${room}`, () => ({ name: this.name }));
    this.presence = new Presence(this.channel, (state, diff) => this.#present(state, diff));
    this.channel.on("line", (line) => {
      this.#types({ key: line.key, name: line.author, typing: false });
      this.lines.append(line);
    });
    this.channel.on("typing", (typist) => this.#types(typist));
    this.channel.onState((status) => this.#changed(status));
    this.channel.join();
  }

  #build() {
    this.people = h("ul", { class: "people", "aria-label": "Who is here" });
    this.headcount = h("span", { class: "muted small figures" });
    this.typing = h("p", { class: "typing muted cut", "data-typing": "" });
    this.trouble = h("p", { id: "chat-trouble", class: "trouble", role: "status" });
    this.input = h("textarea", {
      id: "chat-input",
      rows: 1,
      maxlength: 2000,
      placeholder: "Say something",
      "aria-label": "Your message",
      "aria-describedby": "chat-trouble",
      enterkeyhint: "send",
      oninput: () => this.#typed(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
      onblur: () => this.#rest(),
    });
    this.send = h("button", { id: "chat-send", type: "submit" }, "Send");
    this.me = h("input", {
      id: "chat-name",
      class: "me",
      maxlength: 40,
      autocomplete: "nickname",
      onchange: () => this.rename(this.me.value),
      onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && this.#showName(),
    });
    this.#showName();
    this.host.classList.add("chat");
    this.host.replaceChildren(
      h("div", { class: "present" }, this.headcount, this.people),
      this.lines.element,
      h("div", { class: "status small" }, this.typing, this.trouble),
      h("form", { class: "say", onsubmit: instead(() => this.#submit()) }, this.input, this.send),
      h(
        "form",
        { class: "who small muted", onsubmit: instead(() => this.me.blur()) },
        h("label", { for: "chat-name" }, "You are"),
        this.me,
      ),
    );
  }

  /** Come back under another name. @param {string} name */
  rename(name) {
    const wanted = name.trim();
    const changed = wanted !== "" && wanted !== this.name;
    if (changed) this.name = rememberName(wanted);
    this.#showName();
    if (changed) this.channel.join();
  }

  #showName() {
    this.me.value = this.name;
  }

  /** @param {import("/understudy/channel.js").ChannelStatus} status */
  #changed({ state, response, reason }) {
    this.host.dataset.state = state;
    this.send.disabled = state !== "joined";
    if (state === "joined") {
      this.#joinedOnce = true;
      this.#mine.add(response.key);
      this.lines.recall(response.history);
      this.#present(this.presence.state, { joins: {}, leaves: {} });
      say(this.trouble, "");
      this.#sayAgain();
    } else if (state === "denied") {
      say(this.trouble, `The room did not let you in: ${reason}`);
      if (!this.#joinedOnce) this.lines.nothing("You are not in this room.");
    } else if (state === "waiting") {
      if (!this.#unsent) say(this.trouble, this.#joinedOnce ? "Not connected. What you write stays here." : "");
      for (const key of [...this.#typists.keys()]) this.#types({ key, name: "", typing: false });
    }
  }

  /**
   * @param {import("/understudy/presence.js").PresenceState} state
   * @param {import("/understudy/presence.js").PresenceDiff} diff
   */
  #present(state, diff) {
    const shown = new Map([...this.people.children].map((item) => [item.dataset.person, item]));
    for (const [key, item] of shown) if (!state[key]) item.remove();
    for (const [key, { metas }] of Object.entries(state)) {
      const name = String(metas.at(-1)?.name ?? key);
      const mine = this.#mine.has(key);
      const item = shown.get(key) ?? h("li", { class: "cut", "data-person": key });
      item.toggleAttribute("data-me", mine);
      item.title = name;
      say(item, name);
      if (!item.isConnected) this.people.insertBefore(item, mine ? this.people.firstChild : null);
    }
    say(this.headcount, `${this.people.childElementCount} here`);
    for (const key of Object.keys(diff.leaves)) if (!state[key]) this.#types({ key, name: "", typing: false });
  }

  /** @param {{key: string, name: string, typing: boolean}} typist */
  #types({ key, name, typing }) {
    clearTimeout(this.#typists.get(key)?.timer);
    this.#typists.delete(key);
    if (typing && !this.#mine.has(key)) {
      const timer = setTimeout(() => this.#types({ key, name, typing: false }), 2 * TYPING);
      this.#typists.set(key, { name, timer });
    }
    const names = [...this.#typists.values()].map((typist) => typist.name);
    const who = names.length > 2 ? `${names.length} people` : names.join(" and ");
    say(this.typing, who && `${who} ${names.length === 1 ? "is" : "are"} typing`);
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

  /**
   * The text stays in the box until the room has taken it. A line that was sent and not answered is sent again under its id,
   * so that it stands there once, whatever happened to the answer.
   */
  async #submit() {
    const text = this.input.value.trim();
    if (!text || this.#sending) return;
    if (this.#unsent?.text !== text) this.#unsent = { id: newId(), text };
    this.#sending = this.input.readOnly = true;
    this.#rest();
    try {
      await this.channel.push("say", { text, id: this.#unsent.id });
      this.#unsent = null;
      this.input.value = "";
      this.#typed();
      say(this.trouble, "");
      this.lines.toEnd();
    } catch (error) {
      const { kind, message } = /** @type {import("/understudy/channel.js").PushError} */ (error);
      if (kind === "refused") {
        this.#unsent = null;
        say(this.trouble, `Not sent: ${message}`);
      } else if (kind === "timeout") {
        say(this.trouble, "The room does not answer. It is asked again.");
        setTimeout(() => this.#sayAgain(), AGAIN);
      } else {
        say(this.trouble, "Not connected. Your line goes out as soon as you are.");
      }
    } finally {
      this.#sending = this.input.readOnly = false;
    }
  }

  /** What the room has not answered, unless it was changed since: then it waits for its writer. */
  #sayAgain() {
    if (this.#unsent && this.#unsent.text === this.input.value.trim()) this.#submit();
  }
}
