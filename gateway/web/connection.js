/** The connection mark: connected, silent, connecting, reconnecting, or offline since when. One line, always true. */

import { h, say } from "./dom.js";

/** Lost for longer than this, a connection is called offline (it is still tried again). Milliseconds. */
const PATIENCE = 30_000;

const MARKS = {
  connected: "alive",
  silent: "waiting",
  connecting: "waiting",
  reconnecting: "waiting",
  offline: "failing",
};

/**
 * @param {import("./understudy.js").SocketStatus} status
 * @param {number} now unix milliseconds
 * @returns {{state: "connected"|"silent"|"connecting"|"reconnecting"|"offline", text: string}}
 */
export function describe({ state, since, silent, seconds, reason }, now) {
  if (state === "open" && silent > 0) return { state: "silent", text: `No news for ${silent} s` };
  if (state === "open") return { state: "connected", text: "Connected" };
  if (state === "idle" || (since === null && state === "connecting"))
    return { state: "connecting", text: "Connecting" };
  const lost = new Date(since ?? now).toTimeString().slice(0, 5);
  if (state === "closed") return { state: "offline", text: `Offline since ${lost}${reason ? `: ${reason}` : ""}` };
  if (now - (since ?? now) > PATIENCE)
    return { state: "offline", text: `Offline since ${lost}, ${seconds > 0 ? `next try in ${seconds} s` : "trying"}` };
  return { state: "reconnecting", text: seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting" };
}

/**
 * Keep an element telling the truth about a socket.
 * @param {HTMLElement} host gets `data-state` and its content
 * @param {import("./understudy.js").Socket} socket
 */
export function connectionMark(host, socket) {
  const text = h("span", { class: "connection-text" });
  const again = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => socket.retry() }, "Try now");
  host.replaceChildren(h("span", { class: "mark", "aria-hidden": "true" }), text, again);
  socket.onState((status) => {
    const { state, text: words } = describe(status, Date.now());
    host.dataset.state = state;
    host.dataset.mark = MARKS[state];
    say(text, words);
    again.hidden = state !== "offline";
  });
}
