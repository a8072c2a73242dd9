/**
 * A small client of Phoenix Channels V2: one socket, many topics, no gaps, presence. No dependencies, no build step.
 *
 *     page                     Socket                        gateway
 *      | channel("lobby").join()  |  [j, j, lobby, phx_join, {}]  |
 *      |                          | ----------------------------> |
 *      |   onResync, or on(...),  | <---- phx_reply {ok, ...} --- |      a rejoin brings what was said meanwhile, or the
 *      |   then onState: joined   |                               |      whole present state (see channel.js)
 *      |   on("run", ...)         | <---- broadcast ------------- |
 *      | await push("new_game")   | ----------------------------> |
 *      |   resolves or rejects    | <---- phx_reply {ok|error} -- |
 *      |                          |                               |
 *      |   onState: open, silent  |  (no answer to a heartbeat)   |      it is said at once, and waited for a little
 *      |   onState: waiting, 3 s  |            (cut)              |      backoff with jitter, then all join again
 *
 *      |                          | <-- reconnect {within: ms} -- |      the server is about to go: all come back, each at a
 *      |                          |                               |      moment of its own within that time
 *
 * Two choices differ from Phoenix's own client: a push outside of a joined channel is rejected at once instead of being
 * kept unseen, and the backoff has jitter.
 *
 * ```js
 * const socket = new Socket().connect();
 * const lobby = socket.channel("lobby");
 * lobby.onResync((snapshot, response) => render(response));
 * lobby.on("run", (run) => update(run));
 * lobby.join();   // later, once joined:
 * const {id} = await lobby.push("new_game", {seed: 7});
 * ```
 */

import { Channel } from "./channel.js";
import { decode, encode } from "./frames.js";
import { afterClose, backoff, explain } from "./patience.js";
import { Listeners, Requests } from "./requests.js";

export { Channel } from "./channel.js";
export { afterClose, backoff } from "./patience.js";
export { Presence, syncDiff, syncState } from "./presence.js";
export { PushError } from "./requests.js";

/**
 * @typedef {import("./channel.js").ChannelState} ChannelState
 * @typedef {import("./channel.js").ChannelStatus} ChannelStatus
 * @typedef {import("./channel.js").Cursor} Cursor
 * @typedef {import("./presence.js").Meta} Meta
 * @typedef {import("./presence.js").PresenceState} PresenceState
 * @typedef {import("./presence.js").PresenceDiff} PresenceDiff
 *
 * @typedef {"idle"|"connecting"|"open"|"waiting"|"closed"} SocketState
 * @typedef {object} SocketStatus
 * @property {SocketState} state `waiting` tries again by itself, `closed` does not
 * @property {number|null} since unix milliseconds at which the connection was lost; null while it is not
 * @property {number} silent whole seconds without a word from a server that owes an answer; 0 while it speaks (open)
 * @property {number} seconds whole seconds until the next try, counted down once a second (0 unless waiting)
 * @property {number} code the last close code, 0 if there is none
 * @property {string} reason the last close reason in words
 * @property {string} refusal the same for programs, "" if the server named none
 *
 * @typedef {string | (() => string | Promise<string>)} Token a token, or what makes one: asked for at each connection, and
 *   when the server says that the one in use is about to end
 */

/** What is written before a token among the sub-protocols, where no log of addresses sees it. Phoenix does the same. */
const AUTH_PROTOCOL = "base64url.bearer.phx.";

/** A token as a sub-protocol: in the URL-safe alphabet of base64. @param {string} token */
function carried(token) {
  return AUTH_PROTOCOL + btoa(token).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** How often an open connection is looked at. Milliseconds. */
const LOOK = 1_000;
/** A heartbeat may take so long before silence is worth a word. Milliseconds. */
const ANSWER = 2_000;

/** One WebSocket to the gateway, kept alive: heartbeat, reconnection, and the joins of its channels after each. */
export class Socket {
  /** @type {SocketStatus} */
  status = { state: "idle", since: null, silent: 0, seconds: 0, code: 0, reason: "", refusal: "" };
  /** @type {Set<Channel>} */ channels = new Set();
  /** @type {WebSocket|null} */ #wire = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #retry;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #watch;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #move;
  #states = new Listeners();
  #requests = new Requests();
  #ref = 0;
  #tries = 0;
  #attempt = 0;
  /** When the server asked us to be back. Unix milliseconds. @type {number|null} */ #backAt = null;
  /** When the server was last heard, when it was last asked, and since when it owes an answer. Unix milliseconds. */
  #heard = 0;
  #asked = 0;
  /** @type {number|null} */ #owed = null;

  /**
   * @param {string} [path] of the gateway's socket: absolute on this host, or a whole ws: address
   * @param {object} [options]
   * @param {Token} [options.token] who we are
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
      token: /** @type {Token|undefined} */ (undefined),
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
   * @returns {Channel} to be joined
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
   * @param {string|null} joinRef @param {string|null} ref @param {string} topic @param {string} event @param {any} payload
   * @returns {boolean} false: not open, nothing was sent
   */
  send(joinRef, ref, topic, event, payload) {
    if (!this.open || !this.#wire) return false;
    this.#wire.send(encode(joinRef, ref, topic, event, payload));
    return true;
  }

  /**
   * Go on with a new token, on this connection and on later ones.
   * @param {Token} token
   * @returns {Promise<void>} rejects with PushError if the server does not take it, and with what a function throws
   */
  async authorize(token) {
    const said = typeof token === "function" ? await token() : token;
    if (this.open) {
      await new Promise((resolve, reject) => {
        const ref = this.ref();
        this.send(null, ref, "phoenix", "access_token", { token: said });
        this.#requests.add(ref, this.options.timeout, resolve, reject);
      });
    }
    this.options.token = token;
  }

  #address() {
    const base = new URL(this.path, globalThis.location?.href);
    base.protocol = base.protocol.replace("http", "ws");
    base.searchParams.set("vsn", "2.0.0");
    base.searchParams.set("offsets", "1"); // binary events with their place in the log
    base.searchParams.set("refusals", "close"); // a browser hides from us why an upgrade was refused
    return base.href;
  }

  #open() {
    this.#drop();
    this.#become("connecting");
    const attempt = this.#attempt;
    const token = this.options.token;
    if (typeof token !== "function") return this.#dial(token);
    Promise.resolve()
      .then(token)
      .then(
        (made) => attempt === this.#attempt && this.#dial(made),
        (error) => attempt === this.#attempt && this.#ended(1006, `no token: ${error?.message ?? error}`),
      );
  }

  /** @param {string|undefined} token */
  #dial(token) {
    const wire = new this.options.WebSocket(this.#address(), token === undefined ? [] : ["phoenix", carried(token)]);
    wire.binaryType = "arraybuffer";
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
    this.#become("open", { since: null, code: 0, reason: "", refusal: "" });
    for (const channel of this.channels) channel.enter();
  }

  /** @param {WebSocket} wire @param {string|ArrayBuffer} data */
  #received(wire, data) {
    if (wire !== this.#wire) return;
    this.#tries = 0;
    this.#heard = Date.now();
    this.#owed = null; // whatever it says, it is there
    if (this.status.silent) this.#become("open");
    const frame = decode(data);
    if (frame.topic === "phoenix") this.#told(frame);
    else for (const channel of [...this.channels]) channel.received(frame);
  }

  /** What the server says about the connection itself. @param {import("./frames.js").Frame} frame */
  #told({ ref, event, payload }) {
    if (event === "phx_reply") {
      this.#requests.answered(ref, payload);
    } else if (event === "reconnect" && Number.isFinite(payload?.within)) {
      const wait = payload.within * this.options.random();
      this.#backAt = Date.now() + wait;
      clearTimeout(this.#move);
      this.#move = setTimeout(() => this.#ended(1012, "the server asked everybody to connect anew"), wait);
    } else if (event === "access_token" && typeof this.options.token === "function") {
      this.authorize(this.options.token).catch(() => undefined); // the close that follows says it
    }
  }

  /** Ask whether the server is there. */
  #beat() {
    this.#asked = Date.now();
    if (this.send(null, this.ref(), "phoenix", "heartbeat", {})) this.#owed ??= this.#asked;
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
    if (wire === this.#wire) this.#ended(code, reason);
  }

  /** @param {number} code @param {string} said */
  #ended(code, said) {
    const backAt = this.#backAt;
    this.#drop();
    const { refusal, sentence: reason } = explain(said);
    const change = { since: this.status.since ?? Date.now(), code, reason, refusal };
    const advice = afterClose(code);
    for (const channel of this.channels) channel.lost(reason || "connection lost");
    if (backAt !== null) {
      this.#wait(backAt, change);
    } else if (advice === "stop") {
      this.#become("closed", change);
    } else {
      this.#tries += 1;
      const spread = advice === "spread" ? this.options.spread * this.options.random() : 0;
      this.#wait(Date.now() + backoff(this.#tries, this.options.random) + spread, change);
    }
  }

  /** Count down to the next try, once a second. @param {number} at @param {Partial<SocketStatus>} change */
  #wait(at, change) {
    const left = at - Date.now();
    if (left <= 0) {
      this.status = { ...this.status, ...change };
      return this.#open();
    }
    this.#become("waiting", { ...change, seconds: Math.ceil(left / 1000) });
    this.#retry = setTimeout(() => this.#wait(at, {}), left % 1000 || 1000);
  }

  #drop() {
    clearTimeout(this.#retry);
    clearTimeout(this.#watch);
    clearTimeout(this.#move);
    this.#backAt = null;
    this.#attempt += 1;
    this.#requests.forget("connection lost");
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
