/**
 * One topic of a socket: its events in order, and the joins that keep them without a gap.
 *
 *     left --join()--> waiting (no socket) --> joining --ok--> joined --phx_error, cut--> waiting --> joining ...
 *                                                 |error                      `--leave(), phx_close--> left
 *                                                 `--> denied --(unless the server says: never)--> joining ...
 *
 * What is promised to its listeners:
 *     Events come in the room's order, none twice. After a cut the join brings what was said meanwhile; the listeners hear
 *     it before anything new. Where that is no longer known, or the room lives anew, `onResync` is told instead, with
 *     the room's snapshot. There is no gap without that.
 *     Kept values (a cursor's place, what somebody is typing) come once while connected; after a join, the latest again.
 */

import { value } from "./frames.js";
import { backoff } from "./patience.js";
import { Listeners, PushError, Requests } from "./requests.js";

/**
 * @typedef {"joining"|"joined"|"waiting"|"denied"|"left"} ChannelState
 * @typedef {object} ChannelStatus
 * @property {ChannelState} state `waiting` joins again by itself, `denied` too if `retry` is true, `left` does not
 * @property {any} [response] what the room answered to the join (joined)
 * @property {boolean} [recovered] whether the join went on where the one before ended (joined)
 * @property {string} [reason] why it is not joined, for people
 * @property {string} [code] the same for programs (denied)
 * @property {boolean} [retry] whether the same join may be granted later (denied)
 *
 * @typedef {object} Cursor a place in the log of a topic
 * @property {string} epoch the life of the log: another one has other offsets
 * @property {number} offset
 */

/** One topic on a socket. Joins again after every cut until `leave()`. */
export class Channel {
  /** @type {ChannelStatus} */ status = { state: "left" };
  /** @type {string|null} */ joinRef = null;
  /**
   * The place of the last event that came, null where the server keeps no log. Kept over a reload of the page and set
   * before `join()`, it brings what was said since.
   * @type {Cursor|null}
   */
  cursor = null;
  /** @type {Map<string, Listeners>} */ #events = new Map();
  #states = new Listeners();
  #resyncs = new Listeners();
  #requests = new Requests();
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #rejoin;
  #tries = 0;

  /** @param {import("./understudy.js").Socket} socket @param {string} topic @param {() => object} params */
  constructor(socket, topic, params) {
    this.socket = socket;
    this.topic = topic;
    this.params = params;
  }

  get joined() {
    return this.status.state === "joined";
  }

  /**
   * @param {string} event
   * @param {(payload: any) => void} callback gets what JSON can say, or an ArrayBuffer
   * @returns {() => void} removes it
   */
  on(event, callback) {
    if (!this.#events.has(event)) this.#events.set(event, new Listeners());
    return /** @type {Listeners} */ (this.#events.get(event)).add(callback);
  }

  /**
   * Whatever was shown before may have gaps: begin anew. Called at each join that was not recovered, the first included.
   * @param {(snapshot: any, response: any) => void} callback gets the room's snapshot (null if it makes none), and what it
   *   answered to the join
   * @returns {() => void} removes it
   */
  onResync(callback) {
    return this.#resyncs.add(callback);
  }

  /**
   * @param {(status: ChannelStatus) => void} callback called at each change; of a join after what it brought
   * @returns {() => void} removes it
   */
  onState(callback) {
    return this.#states.add(callback);
  }

  /** Join now, or as soon as the socket is open. Calling it again joins again, with new params. */
  join() {
    this.socket.channels.add(this);
    this.#tries = 0;
    this.enter();
    return this;
  }

  /** Leave for good. */
  leave() {
    this.socket.channels.delete(this);
    this.#forget("left");
    if (this.joinRef) this.socket.send(this.joinRef, this.socket.ref(), this.topic, "phx_leave", {});
    this.#become({ state: "left" });
  }

  /**
   * Send an event; resolves with the response of an ok reply.
   * @param {string} event
   * @param {any} [payload] what JSON can say, an ArrayBuffer or a view of one
   * @returns {Promise<any>} rejects with PushError
   */
  push(event, payload = {}) {
    if (!this.joined) return Promise.reject(new PushError("offline", "not connected"));
    return new Promise((resolve, reject) => this.#request(this.socket.ref(), event, payload, resolve, reject));
  }

  /**
   * Send an event that nobody answers: for what is worth nothing a moment later.
   * @param {string} event
   * @param {any} [payload]
   * @returns {boolean} false: not joined, nothing was sent
   */
  send(event, payload = {}) {
    return this.joined && this.socket.send(this.joinRef, null, this.topic, event, payload);
  }

  /** The socket is open (or the wait is over): join. */
  enter() {
    this.#forget("joining again");
    if (!this.socket.open) return this.#become({ state: "waiting", reason: "not connected" });
    const ref = this.socket.ref();
    this.joinRef = ref;
    this.#become({ state: "joining" });
    const params = this.cursor ? { ...this.params(), resume: this.cursor } : this.params();
    this.#request(ref, "phx_join", params, (response) => this.#admitted(response), (error) => {
      if (error.kind === "offline") return;
      if (error.kind === "timeout") this.socket.send(ref, this.socket.ref(), this.topic, "phx_leave", {});
      if (error.kind === "timeout") this.#again({ state: "waiting", reason: error.message });
      else this.#again({ state: "denied", reason: error.message, code: error.code, retry: error.retry });
    });
  }

  /** The socket is not open any more. @param {string} reason */
  lost(reason) {
    this.#forget(reason);
    this.#become({ state: "waiting", reason });
  }

  /** @param {import("./frames.js").Frame} frame */
  received({ joinRef, ref, topic, event, payload, offset }) {
    if (topic !== this.topic || (joinRef !== null && joinRef !== this.joinRef)) return;
    if (event === "phx_reply") this.#requests.answered(ref, payload);
    else if (event === "phx_error") this.#again({ state: "waiting", reason: payload?.reason ?? "the topic crashed" });
    else if (event === "phx_close") this.#closed();
    else this.#heard(event, payload, offset);
  }

  /**
   * What a join brought: the events since our cursor, or the news that there may be a gap, and the present.
   * @param {any} response
   */
  #admitted(response) {
    this.#tries = 0;
    const logged = typeof response?.epoch === "string" && Number.isInteger(response.offset);
    const { epoch, offset, recovered = false, events = [], snapshot = null, ...answer } = logged ? response : {};
    const status = { state: /** @type {const} */ ("joined"), response: logged ? answer : response, recovered };
    this.status = status;
    if (recovered) {
      for (const [place, event, payload] of events) {
        this.#heard(event, value(payload), place);
        if (this.status !== status) return; // a listener left, or joined anew
      }
    } else {
      this.cursor = logged ? { epoch, offset } : null;
      this.#resyncs.tell(snapshot, status.response);
      if (this.status !== status) return;
    }
    if (logged) this.cursor = { epoch, offset };
    this.#states.tell(status);
  }

  /** @param {string} event @param {any} payload @param {number|null} offset */
  #heard(event, payload, offset) {
    if (offset !== null && this.cursor) {
      if (!this.joined || offset <= this.cursor.offset) return; // the join that is under way brings it, or it came already
      this.cursor = { ...this.cursor, offset };
    }
    this.#events.get(event)?.tell(payload);
  }

  /**
   * @param {string} ref @param {string} event @param {any} payload
   * @param {(response: any) => void} resolve @param {(error: PushError) => void} reject
   */
  #request(ref, event, payload, resolve, reject) {
    this.socket.send(this.joinRef, ref, this.topic, event, payload);
    this.#requests.add(ref, this.socket.options.timeout, resolve, reject);
  }

  /** The server's end of the topic ended as it should: it does not want us back. */
  #closed() {
    this.socket.channels.delete(this);
    this.#forget("closed by the server");
    this.#become({ state: "left", reason: "closed by the server" });
  }

  /** @param {ChannelStatus} status */
  #again(status) {
    this.#forget(status.reason ?? "");
    this.#tries += 1;
    if (status.retry !== false)
      this.#rejoin = setTimeout(() => this.enter(), backoff(this.#tries + 1, this.socket.options.random));
    this.#become(status);
  }

  /** This join is over: nothing that was asked under it will be answered. @param {string} reason */
  #forget(reason) {
    clearTimeout(this.#rejoin);
    this.#requests.forget(reason);
  }

  /** @param {ChannelStatus} status */
  #become(status) {
    this.status = status;
    this.#states.tell(status);
  }
}
