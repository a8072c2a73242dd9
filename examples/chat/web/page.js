/**
 * The chat on a page of its own. The room is named behind the `#`, for example `/chat/#kitchen`: a link to a room is its
 * address, and back and forward go from room to room. Alt with arrow up or down goes to the room beside.
 */

import { connectionMark } from "/understudy/connection.js";
import { say } from "/understudy/dom.js";
import { Socket } from "/understudy/understudy.js";
import { Chat } from "./chat.js";
import { keep, kept, Me } from "./me.js";
import { roomName, Rooms } from "./rooms.js";

const VIEW = "understudy.view";

/** @param {string} id @returns {any} */
const place = (id) => document.getElementById(id);

/** @returns {string} the room that the address names; an address that cannot be read is in the lobby */
function asked() {
  try {
    return roomName(decodeURIComponent(location.hash)) || "lobby";
  } catch {
    return "lobby";
  }
}

const me = new Me();
const socket = new Socket().connect();
const rooms = new Rooms(place("rooms"), socket, me);
const chat = new Chat(place("chat"), rooms.open(asked()), place("myself"));

/** Show the room that the address names. */
function go() {
  const name = asked();
  const conversation = rooms.open(name);
  if (chat.conversation !== conversation) chat.show(conversation);
  rooms.choose(name);
  say(place("room"), name);
  chat.people.element.id = "people";
  chat.people.element.popover = "auto";
  place("show-people").popoverTargetElement = chat.people.element;
  if (place("rail").matches(":popover-open")) place("rail").hidePopover();
  if (matchMedia("(pointer: fine)").matches) chat.composer.input.focus();
  told();
}

/** What the title and the small figures say. */
function told() {
  const { unread, current } = rooms;
  const elsewhere = unread - (rooms.all.get(current)?.unread ?? 0);
  document.title = `${unread ? `(${unread}) ` : ""}${current} · Understudy`;
  place("elsewhere").hidden = elsewhere === 0;
  say(place("elsewhere"), elsewhere > 99 ? "99+" : elsewhere);
  say(place("headcount"), rooms.all.get(current)?.people.size ?? 0);
}

/** @param {"talk"|"panes"} view */
function look(view) {
  chat.look(view);
  keep(VIEW, view);
  for (const button of document.querySelectorAll("[data-look]")) {
    button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.look === view));
  }
}

for (const button of document.querySelectorAll("[data-look]")) {
  button.addEventListener("click", () => look(/** @type {any} */ (button).dataset.look));
}
place("open").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const name = roomName(place("open-name").value);
  if (name) location.hash = encodeURIComponent(name);
  place("open-name").value = "";
});
rooms.addEventListener("unread", told);
rooms.addEventListener("left", (event) => {
  if (/** @type {CustomEvent} */ (event).detail === rooms.current) location.hash = "lobby";
});
addEventListener("hashchange", go);
addEventListener("keydown", (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!step || !event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  location.hash = encodeURIComponent(rooms.beside(step));
});

connectionMark(place("connection"), socket);
look(kept(VIEW) === "panes" ? "panes" : "talk");
go();
