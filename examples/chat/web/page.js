/** The chat on a page of its own: the room is named behind the `#`, for example `/chat/#kitchen`. */

import { connectionMark } from "/understudy/connection.js";
import { Socket } from "/understudy/understudy.js";
import { Chat } from "./chat.js";

const room = decodeURIComponent(location.hash.slice(1)) || "lobby";
const socket = new Socket().connect();

/** @type {HTMLElement} */ (document.querySelector("#room")).textContent = room;
document.title = `${room} · Understudy`;
connectionMark(/** @type {HTMLElement} */ (document.querySelector("#connection")), socket);

const chat = new Chat(/** @type {HTMLElement} */ (document.querySelector("#chat")), socket, room);
chat.lines.addEventListener("unread", () => {
  document.title = `${chat.lines.unread ? `(${chat.lines.unread}) ` : ""}${room} · Understudy`;
});
addEventListener("hashchange", () => location.reload());
