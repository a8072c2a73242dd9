/**
 * A chat as a component: give it an element and a conversation. Who is here, what is said, what is being written, and a box.
 *
 *     chat ── people      who is here
 *          ── talk        one conversation, or
 *          ── panes       everybody side by side
 *          ── composer    the visitor's own words
 *
 * `show` puts another conversation into it.
 */

import { h, say } from "/understudy/dom.js";
import { Composer } from "./composer.js";
import { Panes } from "./panes.js";
import { People } from "./people.js";
import { Talk } from "./talk.js";

export { Conversation } from "./conversation.js";
export { Me } from "./me.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

/** @param {() => void} act @returns {(event: Event) => void} a form's submit that stays on the page */
const instead = (act) => (event) => {
  event.preventDefault();
  act();
};

export class Chat {
  /** @type {AbortController|null} */ #shown = null;
  /** @type {"talk"|"panes"} */ view = "talk";

  /**
   * @param {HTMLElement} host is filled
   * @param {Conversation} conversation
   * @param {HTMLElement} [myself] where the visitor's name stands, if not below the box
   */
  constructor(host, conversation, myself) {
    this.host = host;
    this.me = conversation.me;
    this.composer = new Composer();
    this.name = h("input", {
      id: "chat-name",
      class: "me",
      maxlength: 40,
      autocomplete: "nickname",
      onchange: () => this.me.rename(this.name.value) || this.#showName(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && this.#showName(),
    });
    this.letters = h("input", {
      id: "chat-letters",
      type: "checkbox",
      onchange: () => this.me.show(this.letters.checked),
    });
    this.letters.checked = this.me.letters;
    this.myself = h(
      "form",
      { class: "who small", "aria-label": "You", onsubmit: instead(() => this.name.blur()) },
      h("label", { class: "called" }, h("span", { class: "muted" }, "You are"), this.name),
      h("label", { class: "switch", title: "Others see each letter as you write it" }, this.letters, "Live letters"),
    );
    this.me.addEventListener("name", () => this.#showName());
    this.#showName();
    this.own = myself ? [] : [this.myself];
    myself?.replaceChildren(this.myself);
    host.classList.add("chat");
    host.addEventListener("takeback", (event) => {
      this.composer.takeBack(this.conversation.takeBack(/** @type {CustomEvent} */ (event).detail));
    });
    host.addEventListener("said", () => this.talk.toEnd());
    this.show(conversation);
  }

  /** @param {Conversation} conversation */
  show(conversation) {
    this.#shown?.abort();
    this.#shown = new AbortController();
    const { signal } = this.#shown;
    this.conversation = conversation;
    this.talk = new Talk(conversation, signal);
    this.panes = new Panes(conversation, signal);
    this.people = new People(conversation, signal);
    this.composer.show(conversation, signal);
    conversation.addEventListener("status", () => this.#status(), { signal });
    this.host.replaceChildren(
      this.people.element,
      this.talk.element,
      this.panes.element,
      this.composer.element,
      ...this.own,
    );
    this.composer.slot.replaceChildren(this.panes.mine);
    this.look(this.view);
    this.#status();
  }

  /** As one conversation, or in panes. @param {"talk"|"panes"} view */
  look(view) {
    this.view = view;
    this.host.dataset.view = view;
    this.talk.element.hidden = view !== "talk";
    this.panes.element.hidden = this.composer.slot.hidden = view !== "panes";
    if (view === "talk") this.talk.shown();
    else this.panes.shown();
  }

  #showName() {
    this.name.value = this.me.name;
  }

  #status() {
    this.host.dataset.state = this.conversation.status.state;
  }
}
