/**
 * A small client of Phoenix Channels V2: one socket, many topics, presence. No dependencies, no build step.
 *
 *     page                     Socket                        gateway
 *      | channel("lobby").join()  |  [j, j, lobby, phx_join, {}]  |
 *      |                          | ----------------------------> |
 *      |   onState: joined        | <---- phx_reply {ok, ...} --- |      each (re)join brings the whole present state
 *      |   on("run", ...)         | <---- broadcast ------------- |
 *      | await push("new_game")   | ----------------------------> |
 *      |   resolves or rejects    | <---- phx_reply {ok|error} -- |
 *      |                          |                               |
 *      |   onState: open, silent  |  (no answer to a heartbeat)   |      it is said at once, and waited for a little
 *      |   onState: waiting, 3 s  |            (cut)              |      backoff with jitter, then all join again
 *
 * A frame is a JSON array `[join_ref, ref, topic, event, payload]`. Two choices differ from Phoenix's own client:
 * a push outside of a joined channel is rejected at once instead of being kept unseen, and the backoff has jitter.
 *
 * ```js
 * const socket = new Socket().connect();
 * const lobby = socket.channel("lobby");
 * lobby.onState(({state, response}) => state === "joined" && render(response));
 * lobby.on("run", (run) => update(run));
 * lobby.join();   // later, once joined:
 * const {id} = await lobby.push("new_game", {seed: 7});
 * ```
 */

import { backoff, Channel, Listeners } from "./channel.js";

export { backoff, Channel, PushError } from "./channel.js";
export { Presence, syncDiff, syncState } from "./presence.js";

/**
 * @typedef {"idle"|"connecting"|"open"|"waiting"|"closed"} SocketState
 * @typedef {object} SocketStatus
 * @property {SocketState} state `waiting` tries again by itself, `closed` does not
 * @property {number|null} since unix milliseconds at which the connection was lost; null while it is not
 * @property {number} silent whole seconds without a word from a server that owes an answer; 0 while it speaks (open)
 * @property {number} seconds whole seconds until the next try, counted down once a second (0 unless waiting)
 * @property {number} code the last close code, 0 if there is none
 * @property {string} reason the last close reason in words
 */

/**
 * What a close code asks of us: normal (1000), policy (1008) and the terminal ranges (3500-3999, 4500-4999) not to come
 * back; going away, restart and try later (1001, 1012, 1013) to come back spread over a window. The rest are accidents.
 * @param {number} code
 * @returns {"stop"|"spread"|"retry"}
 */
export function afterClose(code) {
  if (code === 1000 || code === 1008 || (code >= 3500 && code < 4000) || code >= 4500) return "stop";
  return code === 1001 || code === 1012 || code === 1013 ? "spread" : "retry";
}

/** How often an open connection is looked at. Milliseconds. */
const LOOK = 1_000;
/** A heartbeat may take so long before silence is worth a word. Milliseconds. */
const ANSWER = 2_000;

/** One WebSocket to the gateway, kept alive: heartbeat, reconnection, and the joins of its channels after each. */
export class Socket {
  /** @type {SocketStatus} */ status = { state: "idle", since: null, silent: 0, seconds: 0, code: 0, reason: "" };
  /** @type {Set<Channel>} */ channels = new Set();
  /** @type {WebSocket|null} */ #wire = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #retry;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #watch;
  #states = new Listeners();
  #ref = 0;
  #tries = 0;
  /** When the server was last heard, when it was last asked, and since when it owes an answer. Unix milliseconds. */
  #heard = 0;
  #asked = 0;
  /** @type {number|null} */ #owed = null;

  /**
   * @param {string} [path] of the gateway's socket: absolute on this host, or a whole ws: address
   * @param {object} [options]
   * @param {number} [options.timeout] milliseconds a join or push waits for its reply
   * @param {number} [options.heartbeat] milliseconds between heartbeats while somebody looks at the page
   * @param {number} [options.unwatched] milliseconds between heartbeats while nobody does
   * @param {number} [options.quiet] milliseconds without a word after which an open connection counts as silent
   * @param {number} [options.patience] milliseconds a heartbeat may stay unanswered, and a connection may take to open
   * @param {number} [options.spread] milliseconds over which to come back when a server asks everybody to
   * @param {() => number} [options.random]
   * @param {typeof WebSocket} [options.WebSocket]
   */
  constructor(path = "/socket/websocket", options = {}) {
    this.path = path;
    this.options = {
      timeout: 10_000,
      heartbeat: 4_000,
      unwatched: 20_000,
      quiet: 6_000,
      patience: 8_000,
      spread: 2_000,
      random: Math.random,
      WebSocket: globalThis.WebSocket,
      ...options,
    };
    const hurry = () => this.status.state === "waiting" && this.#open();
    globalThis.addEventListener?.("online", hurry);
    globalThis.addEventListener?.("offline", () => this.#beat()); // perhaps only of another network: ask
    globalThis.document?.addEventListener("visibilitychange", () => {
      if (document.visibilityState !== "visible") return;
      if (this.status.state === "open") this.#beat();
      else hurry();
    });
  }

  /** Open the connection, and keep it. */
  connect() {
    if (this.#wire || this.status.state === "waiting") return this;
    this.#open();
    return this;
  }

  /** Close for good; channels stop with it. */
  disconnect() {
    this.#drop();
    this.#become("closed", { code: 1000, reason: "closed by this page" });
    for (const channel of this.channels) channel.lost("disconnected");
  }

  /** Try now: instead of at the end of the countdown, or although the server closed for good. */
  retry() {
    if (this.status.state === "waiting" || this.status.state === "closed") this.#open();
  }

  /** @param {(status: SocketStatus) => void} callback called now and at each change @returns {() => void} removes it */
  onState(callback) {
    callback(this.status);
    return this.#states.add(callback);
  }

  /**
   * @param {string} topic for example "room:lobby"
   * @param {object | (() => object)} [params] the join's payload; a function is asked at each (re)join
   */
  channel(topic, params = {}) {
    return new Channel(this, topic, typeof params === "function" ? /** @type {() => object} */ (params) : () => params);
  }

  get open() {
    return this.status.state === "open";
  }

  /** @returns {string} the next reference, unique on this socket */
  ref() {
    return String(++this.#ref);
  }

  /**
   * @param {[string|null, string|null, string, string, any]} frame @returns {boolean} false: not open, nothing was sent
   */
  send(frame) {
    if (!this.open || !this.#wire) return false;
    this.#wire.send(JSON.stringify(frame));
    return true;
  }

  #address() {
    const base = new URL(this.path, globalThis.location?.href);
    base.protocol = base.protocol.replace("http", "ws");
    base.searchParams.set("vsn", "2.0.0");
    return base.href;
  }

  #open() {
    this.#drop();
    this.#become("connecting");
    const wire = new this.options.WebSocket(this.#address());
    this.#wire = wire;
    this.#watch = setTimeout(() => this.#cut(wire, 1006, "no answer from the server"), this.options.patience);
    wire.onopen = () => this.#opened(wire);
    wire.onmessage = (event) => this.#received(wire, event.data);
    wire.onclose = (event) => this.#cut(wire, event.code, event.reason);
  }

  /** @param {WebSocket} wire */
  #opened(wire) {
    if (wire !== this.#wire) return;
    clearTimeout(this.#watch);
    this.#heard = this.#asked = Date.now();
    this.#owed = null;
    this.#watch = setTimeout(() => this.#look(wire), LOOK);
    this.#become("open", { since: null, code: 0, reason: "" });
    for (const channel of this.channels) channel.enter();
  }

  /** @param {WebSocket} wire @param {unknown} data */
  #received(wire, data) {
    if (wire !== this.#wire || typeof data !== "string") return;
    this.#tries = 0;
    this.#heard = Date.now();
    this.#owed = null; // whatever it says, it is there
    if (this.status.silent) this.#become("open");
    const [joinRef, ref, topic, event, payload] = JSON.parse(data);
    for (const channel of [...this.channels]) channel.received(joinRef, ref, topic, event, payload);
  }

  /** Ask whether the server is there. */
  #beat() {
    this.#asked = Date.now();
    if (this.send([null, this.ref(), "phoenix", "heartbeat", {}])) this.#owed ??= this.#asked;
  }

  /**
   * Is the server still there? One that owes an answer and is silent is first called so, and after `patience` given up:
   * a link that is dead without a word, or a server that stands still, is told from one that has nothing to say.
   * @param {WebSocket} wire
   */
  #look(wire) {
    const { heartbeat, unwatched, quiet, patience } = this.options;
    const now = Date.now();
    const owed = this.#owed === null ? 0 : now - this.#owed;
    if (owed >= patience) return this.#cut(wire, 1006, "the server stopped answering");
    this.#watch = setTimeout(() => this.#look(wire), LOOK);
    const silence = now - this.#heard;
    if (owed >= ANSWER && silence >= quiet) this.#become("open", { silent: Math.floor(silence / 1000) });
    if (now - this.#asked >= (globalThis.document?.hidden ? unwatched : heartbeat)) this.#beat();
  }

  /**
   * The connection is gone: decide whether and when to come back.
   * @param {WebSocket} wire @param {number} code @param {string} reason
   */
  #cut(wire, code, reason) {
    if (wire !== this.#wire) return;
    this.#drop();
    const advice = afterClose(code);
    const since = this.status.since ?? Date.now();
    if (advice === "stop") {
      this.#become("closed", { since, code, reason });
    } else {
      this.#tries += 1;
      const spread = advice === "spread" ? this.options.spread * this.options.random() : 0;
      this.#wait(Date.now() + backoff(this.#tries, this.options.random) + spread, { since, code, reason });
    }
    for (const channel of this.channels) channel.lost(reason || "connection lost");
  }

  /** Count down to the next try, once a second. @param {number} at @param {Partial<SocketStatus>} change */
  #wait(at, change) {
    const left = at - Date.now();
    if (left <= 0) return this.#open();
    this.#become("waiting", { ...change, seconds: Math.ceil(left / 1000) });
    this.#retry = setTimeout(() => this.#wait(at, {}), left % 1000 || 1000);
  }

  #drop() {
    clearTimeout(this.#retry);
    clearTimeout(this.#watch);
    const wire = this.#wire;
    this.#wire = null;
    if (!wire) return;
    wire.onopen = wire.onmessage = wire.onclose = null;
    wire.close();
  }

  /** @param {SocketState} state @param {Partial<SocketStatus>} [change] */
  #become(state, change = {}) {
    this.status = { ...this.status, seconds: 0, silent: 0, ...change, state };
    this.#states.tell(this.status);
  }
}
