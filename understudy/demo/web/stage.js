/**
 * The stage: the game that is watched, with its caption, its curtain, and the end of it, whichever end it has.
 *
 *     join run:<id>  ->  {run, frame}      then frame, run; cancel
 */

import { Arena } from "/arena/arena.js";
import { count, h, icon, say } from "/understudy/dom.js";
import { headline, STATES, title, underWay, verdict } from "./games.js";

/** Frames come ten times a second; after this long without one the stage says so. Milliseconds. */
const LATE = 2_000;
const LINK = "M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 5.7 5.7L12 17";

export class Stage {
  id = "";
  /** @type {import("./games.js").Run|null} */ run = null;
  /** @type {import("/understudy/understudy.js").Channel|null} */ #channel = null;
  #came = 0;
  #live = false;
  #forgotten = false;
  #unfinished = false;
  /** @type {[string, string]} */ #empty = ["", ""];

  /**
   * @param {HTMLElement} host
   * @param {import("/understudy/understudy.js").Socket} socket
   * @param {{again: (seed: number) => void, trouble: (words: string) => void}} house
   */
  constructor(host, socket, house) {
    this.host = host;
    this.socket = socket;
    this.house = house;
    this.title = h("h2", { id: "stage-title", class: "cut" }, "The stage");
    this.mark = h(
      "span",
      { class: "state small", hidden: true },
      h("span", { class: "mark", "aria-hidden": "true" }),
      h("span"),
    );
    this.facts = h("p", { class: "facts small figures" });
    this.link = h(
      "button",
      { id: "copy-link", class: "quiet", type: "button", hidden: true, onclick: () => this.#copy() },
      icon(LINK),
      h("span", { class: "wide" }, "Copy link"),
    );
    this.cancel = h(
      "button",
      { id: "cancel", class: "quiet", type: "button", hidden: true, onclick: () => this.#cancel() },
      "Cancel",
      h("span", { class: "wide" }, " game"),
    );
    const place = h("div", { class: "place" });
    this.arena = new Arena(place);
    this.words = h("p", { class: "card-words" });
    this.more = h("p", { class: "card-more small" });
    this.again = h("button", {
      id: "again",
      type: "button",
      hidden: true,
      onclick: () => this.house.again(this.#seed() ?? 0),
    });
    this.card = h("div", { class: "card", role: "status" }, this.words, this.more, this.again);
    this.late = h("p", { class: "late small", hidden: true });
    this.arena.box.append(this.card, this.late);
    place.append(h("div", { class: "curtain", "aria-hidden": "true" }, h("i"), h("i")));
    this.lights = h(
      "div",
      { class: "footlights", role: "progressbar", "aria-label": "Turns played", "aria-valuemin": 0 },
      h("i"),
    );
    this.trace = h(
      "details",
      { class: "trace small", hidden: true },
      h("summary", {}, "Traceback"),
      h("pre", { class: "mono", tabindex: 0 }),
    );
    host.replaceChildren(
      h(
        "header",
        { class: "caption" },
        h("div", { class: "heading" }, this.title, this.mark),
        this.facts,
        this.link,
        this.cancel,
      ),
      place,
      this.lights,
      this.trace,
    );
    this.#show();
    setInterval(() => this.#look(), 500);
    socket.onState(() => this.#look());
  }

  /** Put a game on stage. @param {string} id "" for none: the curtain is down */
  watch(id) {
    if (id === this.id) return;
    this.#channel?.leave();
    this.#channel = null;
    this.id = id;
    this.run = null;
    this.#live = false;
    this.#forgotten = this.#unfinished = false;
    this.#came = 0;
    this.arena.clear();
    this.#show();
    if (!id) return;
    this.host.dataset.state = "loading";
    this.#card("", "");
    const channel = this.socket.channel(`run:${id}`);
    this.#channel = channel;
    channel.on("frame", (frame) => this.#frame(frame));
    channel.on("run", (run) => this.update(run));
    channel.onState(({ state, response, reason }) => {
      this.#live = state === "joined";
      if (state === "joined") {
        if (response.frame) this.#frame(response.frame);
        this.update(response.run);
      } else if (state === "denied" && reason !== "join crashed") {
        this.#gone(String(reason));
      }
      this.#look();
    });
    channel.join();
  }

  /** The house does not know this game, or not any more. @param {string} reason */
  #gone(reason) {
    if (this.run) return this.forgotten("The house does not know it any more.");
    this.#channel?.leave();
    this.#channel = null;
    this.#show();
    this.host.dataset.state = "denied";
    this.link.hidden = true;
    this.#card("There is no such game here.", `The house says: ${reason}. Pick another, or press New game.`);
  }

  /**
   * Nobody has the game any more that is seen here: its last picture stays, and its seed. One that was under way is lost.
   * @param {string} reason
   */
  forgotten(reason) {
    if (!this.run) return;
    this.#channel?.leave();
    this.#channel = null;
    this.#forgotten = true;
    this.#unfinished ||= underWay(this.run);
    if (this.#unfinished) this.run = { ...this.run, state: "lost", reason, viewers: undefined };
    this.#show();
    this.#look();
  }

  /** @param {import("./games.js").Run} run newer facts about a game; others than the watched one are ignored */
  update(run) {
    if (run.id !== this.id) return;
    if (this.#forgotten && underWay(run)) return this.#return();
    this.run = { ...run, viewers: run.viewers ?? this.run?.viewers };
    this.#show();
  }

  /** It was given up for lost, and plays on. */
  #return() {
    const { id } = this;
    this.id = "";
    this.watch(id);
  }

  /** What the stage says while it is empty. @param {string} words @param {string} more */
  idle(words, more) {
    this.#empty = [words, more];
    if (!this.id) this.#card(words, more);
  }

  /** @param {import("/arena/arena.js").Frame} frame */
  #frame(frame) {
    this.#came = performance.now();
    this.arena.show(frame);
    this.host.toggleAttribute("data-open", true);
    this.lights.setAttribute("aria-valuenow", String(frame.turn));
    this.lights.setAttribute("aria-valuemax", String(frame.of));
    this.lights.style.setProperty("--part", String(frame.turn / frame.of));
    say(this.facts, this.#facts(frame));
    this.#look();
  }

  /** Everything that the run's state decides. */
  #show() {
    const { run, host } = this;
    host.dataset.run = this.id;
    host.dataset.state = run?.state ?? (this.id ? "loading" : "empty");
    this.link.hidden = !this.id || this.#forgotten;
    this.cancel.hidden = !run || !underWay(run);
    this.mark.hidden = !run;
    this.trace.hidden = true;
    this.again.hidden = true;
    this.card.removeAttribute("data-high");
    say(this.title, this.id ? title({ id: this.id }) : "The stage");
    if (!this.arena.frame) {
      say(this.facts, this.id ? "" : "Games play here, live, for everybody at once.");
      host.removeAttribute("data-open");
      this.lights.style.setProperty("--part", "0");
      this.lights.removeAttribute("aria-valuenow");
    }
    if (!run) return this.id ? this.#card("", "") : this.#card(...this.#empty);
    const { word, mark } = STATES[run.state];
    this.mark.dataset.mark = mark;
    say(/** @type {Element} */ (this.mark.lastElementChild), word);
    say(this.facts, this.#facts(this.arena.frame));
    this.#ending(run);
  }

  /** @param {import("./games.js").Run} run */
  #ending(run) {
    const turn = this.arena.frame?.turn ?? run.turn;
    const at = turn ? ` at turn ${turn}` : "";
    const reason = headline(run);
    if (run.state === "starting")
      return this.#card(
        "Places, please.",
        run.node ? `${run.node} is making the game ready.` : "Waiting for an engine.",
      );
    if (run.state === "running") return this.#card("", "");
    if (run.state === "finished") {
      const frame = this.arena.frame;
      const winner = frame?.agents.find(({ id }) => id === frame.winner);
      const low = Boolean(frame && winner && winner.y > frame.rows.length / 2);
      this.card.toggleAttribute("data-high", low); // not over the winner
      this.#card(verdict(run) || "The game is over.", "");
    }
    if (run.state === "cancelled") this.#card(`Cancelled${at}.`, reason);
    if (run.state === "lost") this.#card(`Lost${at}.`, reason);
    if (run.state === "failed") {
      this.#card(`Failed${at}.`, reason);
      this.trace.hidden = !run.reason?.includes("\n");
      say(/** @type {Element} */ (this.trace.lastElementChild), run.reason ?? "");
    }
    const seed = this.#seed();
    this.again.hidden = seed === undefined;
    say(this.again, run.state === "finished" ? `Play seed ${seed} again` : `Start seed ${seed} again`);
  }

  /** @returns {number|undefined} what the game was drawn from: as asked for, else as drawn */
  #seed() {
    return this.run?.args?.seed ?? this.arena.frame?.seed;
  }

  /** @param {import("/arena/arena.js").Frame|null} frame */
  #facts(frame) {
    const { run } = this;
    if (!run) return "";
    const turn = frame ? `act ${frame.act}, turn ${frame.turn} of ${frame.of}` : "";
    const seed = this.#seed();
    return [
      seed !== undefined && `seed ${seed}`,
      run.node && (run.worker_pid ? `${run.node}, worker ${run.worker_pid}` : run.node),
      run.viewers !== undefined && count(run.viewers, "viewer"),
      turn,
    ]
      .filter(Boolean)
      .map((fact) => String(fact).replaceAll(" ", "\u00a0"))
      .join(" · ");
  }

  /** @param {string} words @param {string} more */
  #card(words, more) {
    say(this.words, words);
    say(this.more, more);
    this.card.hidden = !words && !more;
  }

  /** Is what we see true at this moment? */
  #look() {
    const watching = this.run !== null && underWay(this.run) && this.#came > 0;
    const silent = watching ? performance.now() - this.#came : 0;
    const stale = watching && (!this.#live || silent > LATE);
    this.host.toggleAttribute("data-stale", stale);
    this.late.hidden = !stale;
    if (stale) {
      const seconds = Math.max(1, Math.round(silent / 1000));
      say(this.late, this.#live ? `No news for ${seconds} s` : `Not connected: seen ${seconds} s ago`);
    }
    this.cancel.disabled = !this.#live;
  }

  async #cancel() {
    this.cancel.disabled = true;
    try {
      await this.#channel?.push("cancel");
    } catch (error) {
      this.house.trouble(`The game was not cancelled: ${/** @type {Error} */ (error).message}.`);
    }
    this.#look();
  }

  async #copy() {
    const link = new URL(`#run/${encodeURIComponent(this.id)}`, location.href).href;
    const label = /** @type {Element} */ (this.link.lastElementChild);
    try {
      await navigator.clipboard.writeText(link);
      say(label, "Copied");
      setTimeout(() => say(label, "Copy link"), 2_000);
    } catch {
      this.house.trouble(`This browser does not let the page copy. The link is ${link}`);
    }
  }
}
