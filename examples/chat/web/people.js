/** Who is in a room: a person once, in however many windows. */

import { h, say } from "/understudy/dom.js";
import { face } from "./face.js";

export class People {
  /** @param {import("./conversation.js").Conversation} conversation @param {AbortSignal} signal ends it */
  constructor(conversation, signal) {
    this.conversation = conversation;
    this.headcount = h("span", { class: "muted small figures" });
    this.list = h("ul", { class: "people", "aria-label": "Who is here" });
    this.element = h("div", { class: "present" }, this.headcount, this.list);
    for (const what of ["people", "drafts", "status"]) {
      conversation.addEventListener(what, () => this.#show(), { signal });
    }
    this.#show();
  }

  #show() {
    const { people, drafts, key: me } = this.conversation;
    /** @type {Map<string, HTMLElement>} */
    const shown = new Map([...this.list.children].map((item) => [item.dataset.person, item]));
    for (const [key, item] of shown) if (!people.has(key)) item.remove();
    for (const { key, name } of people.values()) {
      const item = shown.get(key) ?? h("li", { "data-person": key }, face(key, name), h("span", { class: "cut" }));
      item.toggleAttribute("data-me", key === me);
      item.toggleAttribute("data-writing", drafts.has(key));
      item.title = name;
      say(item.children[1], key === me ? `${name} (you)` : name);
      if (!item.isConnected) this.list.insertBefore(item, key === me ? this.list.firstChild : null);
    }
    say(this.headcount, `${people.size} here`);
  }
}
