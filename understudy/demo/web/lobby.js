/**
 * The lobby: puts stage, games, chat and house together, and keeps them to what the topic `lobby` says.
 *
 * The address decides what is on stage: `#run/<id>` is that game, by link or by hand; without it the newest game under
 * way is shown, and the next one when there is one. Back and forward work, because the address is all there is.
 */

import { Chat, Conversation, Me } from "/chat/chat.js";
import { connectionMark } from "/understudy/connection.js";
import { say } from "/understudy/dom.js";
import { Socket } from "/understudy/understudy.js";
import { Games, underWay } from "./games.js";
import { House } from "./house.js";
import { Stage } from "./stage.js";

/** @param {string} id @returns {any} */
const place = (id) => document.getElementById(id);

const socket = new Socket(undefined, { timeout: 15_000 }); // an engine may take its time to start a game
const lobby = socket.channel("lobby");
const house = new House({ nodes: place("nodes"), served: place("served-by"), notices: place("notices") });
const games = new Games(place("games-lists"));
const stage = new Stage(place("stage"), socket, {
  again: (seed) => newGame({ seed }),
  trouble: (words) => house.trouble(words),
});
const button = place("new-game");
let known = false;
let served = "";
let denials = 0;

/** What the address asks for: a run's id, or "" for whatever is on. */
function asked() {
  const [, id] = location.hash.match(/^#run\/(.+)$/) ?? [];
  return id ? decodeURIComponent(id) : "";
}

/**
 * Put on stage what the address asks for. Without a wish: the game that is there while it is on, then the newest one.
 * @param {boolean} [fresh] do not stay with what is there
 */
function direct(fresh = false) {
  const wish = asked();
  if (!known && !wish) return;
  const there = fresh ? undefined : (games.runs.get(stage.id) ?? stage.run);
  stage.watch(wish || (there && underWay(there) ? there.id : (games.newest() ?? there)?.id) || "");
  games.watch(stage.id);
  if (house.engine) stage.idle("The stage is empty.", "Press New game: house bots play, and everybody here can watch.");
  else
    stage.idle(
      "The stage is empty, and no engine is up.",
      "The supervisor is bringing one back. To add one by hand, see: understudy node --help",
    );
}

/** @param {{seed?: number}} wish */
async function newGame(wish = {}) {
  if (button.getAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  try {
    const { id } = await lobby.push("new_game", wish);
    location.hash = `#run/${encodeURIComponent(id)}`;
    if (place("stage").getBoundingClientRect().top < 0) place("stage").scrollIntoView({ block: "start" });
  } catch (error) {
    house.trouble(`No new game: ${/** @type {Error} */ (error).message}.`);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** Another process serves this page than before; the games are played elsewhere. @param {string} node @param {number} pid */
function serves(node, pid) {
  house.served(node, pid);
  if (served && served !== `${node} ${pid}`)
    house.notice({ level: "info", text: `${node} serves you now, as process ${pid}.`, at: Date.now() / 1000 });
  served = `${node} ${pid}`;
}

lobby.onState(({ state, response, reason }) => {
  button.disabled = state !== "joined";
  document.body.dataset.lobby = state;
  if (state === "joined") {
    known = true;
    denials = 0;
    serves(response.node, response.pid);
    house.cluster(response.nodes);
    games.reset(response.runs);
    direct();
  } else if (state === "denied" && ++denials === 3) {
    house.trouble(`The lobby does not let this page in: ${reason}. It keeps asking.`); // once may be a restart
  }
});
lobby.on("run", (run) => {
  games.update(run);
  stage.update(run);
  if (!asked()) direct();
});
lobby.on("nodes", ({ nodes }) => {
  house.cluster(nodes);
  if (!asked()) direct();
});
lobby.on("notice", (notice) => house.notice(notice));

button.addEventListener("click", () => newGame());
addEventListener("hashchange", () => direct(true));

for (const jump of document.querySelectorAll("[data-jump]")) {
  jump.addEventListener("click", () => {
    const target = place(/** @type {HTMLElement} */ (jump).dataset.jump ?? "");
    target.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    target.focus({ preventScroll: true });
  });
}

const foyer = new Conversation(socket, "lobby", new Me());
foyer.addEventListener("unread", () => {
  say(place("unread"), foyer.unread ? ` ${foyer.unread}` : "");
  document.title = `${foyer.unread ? `(${foyer.unread}) ` : ""}Understudy`;
});
new Chat(place("chat"), foyer);

connectionMark(place("connection"), socket);
socket.connect();
lobby.join();
direct();
