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

/** One WebSocket to the gateway, kept alive: heartbeat, reconnection, and the joins of its channels after each. */
export class Socket {
  /** @type {SocketStatus} */ status = { state: "idle", since: null, seconds: 0, code: 0, reason: "" };
  /** @type {Set<Channel>} */ channels = new Set();
  /** @type {WebSocket|null} */ #wire = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #retry;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #heartbeat;
  #states = new Listeners();
  #ref = 0;
  #tries = 0;
  #pulse = "";

  /**
   * @param {string} [path] of the gateway's socket: absolute on this host, or a whole ws: address
   * @param {object} [options]
   * @param {number} [options.timeout] milliseconds a join or push waits for its reply
   * @param {number} [options.heartbeat] milliseconds between heartbeats
   * @param {number} [options.patience] milliseconds a heartbeat may stay unanswered, and a connection may take to open
   * @param {number} [options.spread] milliseconds over which to come back when a server asks everybody to
   * @param {() => number} [options.random]
   * @param {typeof WebSocket} [options.WebSocket]
   */
  constructor(path = "/socket/websocket", options = {}) {
    this.path = path;
    this.options = {
      timeout: 10_000,
      heartbeat: 20_000,
      patience: 5_000,
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
    this.#heartbeat = setTimeout(() => this.#cut(wire, 1006, "no answer from the server"), this.options.patience);
    wire.onopen = () => this.#opened(wire);
    wire.onmessage = (event) => this.#received(wire, event.data);
    wire.onclose = (event) => this.#cut(wire, event.code, event.reason);
  }

  /** @param {WebSocket} wire */
  #opened(wire) {
    if (wire !== this.#wire) return;
    clearTimeout(this.#heartbeat);
    this.#heartbeat = setTimeout(() => this.#beat(), this.options.heartbeat);
    this.#become("open", { since: null, code: 0, reason: "" });
    for (const channel of this.channels) channel.enter();
  }

  /** @param {WebSocket} wire @param {unknown} data */
  #received(wire, data) {
    if (wire !== this.#wire || typeof data !== "string") return;
    this.#tries = 0;
    const [joinRef, ref, topic, event, payload] = JSON.parse(data);
    if (topic === "phoenix") {
      if (ref === this.#pulse) this.#pulse = "";
      return;
    }
    for (const channel of [...this.channels]) channel.received(joinRef, ref, topic, event, payload);
  }

  /** One heartbeat, then the wait for its reply: a link that is dead without a word is found within `patience`. */
  #beat() {
    const wire = this.#wire;
    clearTimeout(this.#heartbeat);
    this.#pulse = this.ref();
    if (!wire || !this.send([null, this.#pulse, "phoenix", "heartbeat", {}])) return;
    this.#heartbeat = setTimeout(() => {
      if (this.#pulse) return this.#cut(wire, 1006, "the server stopped answering");
      this.#heartbeat = setTimeout(() => this.#beat(), this.options.heartbeat);
    }, this.options.patience);
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
    clearTimeout(this.#heartbeat);
    const wire = this.#wire;
    this.#wire = null;
    if (!wire) return;
    wire.onopen = wire.onmessage = wire.onclose = null;
    wire.close();
  }

  /** @param {SocketState} state @param {Partial<SocketStatus>} [change] */
  #become(state, change = {}) {
    this.status = { ...this.status, seconds: 0, ...change, state };
    this.#states.tell(this.status);
  }
}
