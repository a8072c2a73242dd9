/** The rooms a visitor is in: a list that says where something is unread, and a way to open more. Kept by the browser. */

import { h, icon, say } from "/understudy/dom.js";
import { Conversation } from "./conversation.js";
import { keep, keptJson } from "./me.js";

const ROOMS = "understudy.rooms";

/** Rooms of one visitor, and characters of a name. */
const MOST = 30;
const LONG = 60;

const CROSS = "M6 6l12 12M18 6L6 18";
const PEN = "M4 20l1-5L16 4l4 4L9 19z";

/** @param {string} name @returns {string} as a room is called: without `#`, not too long; "" if nothing is left */
export const roomName = (name) => name.trim().replace(/^#+/, "").trim().slice(0, LONG);

/** Fires `unread` when there is more or less to read in any room, and `left` (detail: the name) when a room was. */
export class Rooms extends EventTarget {
  /** @type {Map<string, Conversation>} */ all = new Map();
  /** @type {Map<string, HTMLElement>} */ #items = new Map();
  current = "";

  /**
   * @param {HTMLElement} list is filled
   * @param {import("/understudy/understudy.js").Socket} socket
   * @param {import("./me.js").Me} me
   */
  constructor(list, socket, me) {
    super();
    this.list = list;
    this.socket = socket;
    this.me = me;
    const known = keptJson(ROOMS);
    for (const name of ["lobby", ...(Array.isArray(known) ? known : [])]) this.open(String(name));
  }

  /** @param {string} name @returns {Conversation} the room of that name, joined */
  open(name) {
    const there = this.all.get(name);
    if (there) return there;
    if (this.all.size >= MOST) this.leave([...this.all.keys()][1]);
    const conversation = new Conversation(this.socket, name, this.me);
    this.all.set(name, conversation);
    for (const what of ["unread", "people", "drafts", "status"]) {
      conversation.addEventListener(what, () => this.#show(name));
    }
    this.#keep();
    this.#add(name);
    return conversation;
  }

  /** @param {string} name */
  leave(name) {
    this.all.get(name)?.leave();
    this.all.delete(name);
    this.#items.get(name)?.remove();
    this.#items.delete(name);
    this.#keep();
    this.dispatchEvent(new CustomEvent("left", { detail: name }));
  }

  /** @param {string} name of the room that is shown now */
  choose(name) {
    const before = this.current;
    this.current = name;
    this.#show(before);
    this.#show(name);
  }

  /** @param {number} step 1: the next one in the list, -1: the one before @returns {string} */
  beside(step) {
    const names = [...this.all.keys()];
    return names[(names.indexOf(this.current) + step + names.length) % names.length];
  }

  get unread() {
    return [...this.all.values()].reduce((sum, { unread }) => sum + unread, 0);
  }

  /** @param {string} name */
  #add(name) {
    const link = h(
      "a",
      { href: `#${encodeURIComponent(name)}` },
      h("span", { class: "cut room-name" }, name),
      h("span", { class: "pen", hidden: true, title: "Somebody is writing" }, icon(PEN)),
      h("span", { class: "room-people small muted figures" }),
      h("span", { class: "badge figures", hidden: true }),
    );
    const leave = h(
      "button",
      { type: "button", class: "quiet leave", "aria-label": `Leave ${name}`, onclick: () => this.leave(name) },
      icon(CROSS),
    );
    const item = h("li", { "data-room": name }, link, name === "lobby" ? null : leave);
    this.#items.set(name, item);
    this.list.append(item);
    this.#show(name);
  }

  /** @param {string} name */
  #show(name) {
    const item = this.#items.get(name);
    const conversation = this.all.get(name);
    if (!item || !conversation) return;
    const { unread, people, drafts, status } = conversation;
    const [link, badge, here] = ["a", ".badge", ".room-people"].map((what) => /** @type {any} */ (item.querySelector(what)));
    if (name === this.current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    item.toggleAttribute("data-unread", unread > 0);
    item.dataset.state = status.state;
    badge.hidden = unread === 0;
    badge.replaceChildren(unread > 99 ? "99+" : String(unread), h("span", { class: "unseen" }, " unread"));
    here.replaceChildren(people.size > 0 ? String(people.size) : "", h("span", { class: "unseen" }, " here"));
    /** @type {any} */ (item.querySelector(".pen")).hidden = drafts.size === 0;
    this.dispatchEvent(new Event("unread"));
  }

  #keep() {
    keep(ROOMS, JSON.stringify([...this.all.keys()].filter((name) => name !== "lobby")));
  }
}
