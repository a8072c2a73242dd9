/** Where the visitor writes: a box that grows, and what stands in the way of what they wrote. */

import { h, say } from "/understudy/dom.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

/** Characters of a line, and how few are left when that is worth a word. */
const LIMIT = 2_000;
const FEW = 200;

export class Composer {
  /** @type {Conversation|null} */ #conversation = null;

  constructor() {
    this.trouble = h("p", { id: "chat-trouble", class: "trouble small", role: "status" });
    this.left = h("span", { class: "left small muted figures", hidden: true });
    this.input = h("textarea", {
      id: "chat-input",
      rows: 1,
      maxlength: LIMIT,
      "aria-describedby": "chat-trouble",
      enterkeyhint: "send",
      autocomplete: "off",
      oninput: () => this.#typed(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
    });
    this.send = h("button", { id: "chat-send", class: "primary", type: "submit" }, "Send");
    this.slot = h("div", { class: "slot" });
    this.element = h(
      "form",
      {
        class: "say",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          this.#submit();
        },
      },
      this.slot,
      h("div", { class: "box" }, this.input, this.left, this.send),
      this.trouble,
    );
  }

  /** Write into another room. @param {Conversation} conversation @param {AbortSignal} signal ends it */
  show(conversation, signal) {
    this.#conversation = conversation;
    this.input.value = conversation.box;
    this.input.setAttribute("aria-label", `Your message to ${conversation.name}`);
    this.input.placeholder = `Say something in ${conversation.name}`;
    conversation.addEventListener("status", () => this.#status(), { signal });
    this.#fit();
    this.#status();
  }

  /** Something that could not be said comes back, before what was written since. @param {string} text */
  takeBack(text) {
    this.input.value = [text, this.input.value].filter(Boolean).join("\n");
    this.#typed();
    this.input.focus();
  }

  #typed() {
    this.#conversation?.write(this.input.value);
    this.#fit();
  }

  #fit() {
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight + 2}px`;
    const left = LIMIT - this.input.value.length;
    this.left.hidden = left > FEW;
    say(this.left, `${left} left`);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = this.input.value.trim();
    if (!text || !this.#conversation) return;
    this.input.value = "";
    this.#conversation.say(text);
    this.#fit();
    this.element.dispatchEvent(new CustomEvent("said", { bubbles: true }));
  }

  #status() {
    const { status, known } = /** @type {Conversation} */ (this.#conversation);
    const { state, reason, retry } = status;
    const again = retry === false ? "" : " It is asked again.";
    if (state === "denied") say(this.trouble, `The room does not let you in: ${reason}.${again}`);
    else if (state === "left" && known) say(this.trouble, `You are not in this room any more: ${reason ?? "you left"}.`);
    else if (state === "joined" || !known) say(this.trouble, "");
    else say(this.trouble, "Not connected. What you say goes out as soon as you are.");
  }
}
