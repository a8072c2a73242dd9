/**
 * One topic of a socket, and what a channel shares with its socket: listeners, and the patience between tries.
 *
 *     left --join()--> waiting (no socket) --> joining --ok--> joined --phx_error, cut--> waiting --> joining ...
 *                                                 |error                      `--leave(), phx_close--> left
 *                                                 `--> denied --> joining ...
 */

/**
 * @typedef {"joining"|"joined"|"waiting"|"denied"|"left"} ChannelState
 * @typedef {object} ChannelStatus
 * @property {ChannelState} state `waiting` and `denied` join again by themselves, `left` does not
 * @property {any} [response] the join's reply (joined)
 * @property {string} [reason] why it is not joined
 *
 * @typedef {object} Pending what was sent and waits for its reply
 * @property {(response: any) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {ReturnType<typeof setTimeout>} timer
 */

/**
 * A push that was not answered with ok. `kind` says which way: refused by the server, not answered, or not sent at all.
 */
export class PushError extends Error {
  /**
   * @param {"refused"|"timeout"|"offline"} kind
   * @param {string} reason for people
   * @param {any} [response] the server's whole answer (refused)
   */
  constructor(kind, reason, response) {
    super(reason);
    this.name = "PushError";
    this.kind = kind;
    this.response = response;
  }
}

/**
 * Milliseconds before try number `tries` (1, 2, ...): exponential from 0.2 s to 10 s, up to half of which chance takes
 * off, so that a thousand clients that lost one server do not come back in one instant.
 * @param {number} tries
 * @param {() => number} [random] in [0, 1)
 */
export function backoff(tries, random = Math.random) {
  const ceiling = Math.min(10_000, 200 * 2 ** Math.min(tries - 1, 10));
  return Math.round(ceiling * (1 - random() / 2));
}

/** Callbacks of one kind; `add` returns the function that removes. One that throws does not keep the others waiting. */
export class Listeners {
  /** @type {Set<(...args: any[]) => void>} */ #callbacks = new Set();

  /** @param {(...args: any[]) => void} callback */
  add(callback) {
    this.#callbacks.add(callback);
    return () => void this.#callbacks.delete(callback);
  }

  /** @param {any[]} args */
  tell(...args) {
    for (const callback of [...this.#callbacks]) {
      try {
        callback(...args);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/** One topic on a socket. Joins again after every cut until `leave()`. */
export class Channel {
  /** @type {ChannelStatus} */ status = { state: "left" };
  /** @type {string|null} */ joinRef = null;
  /** @type {Map<string, Listeners>} */ #events = new Map();
  #states = new Listeners();
  /** @type {Map<string, Pending>} */
  #pending = new Map();
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

  /** @param {string} event @param {(payload: any) => void} callback @returns {() => void} removes it */
  on(event, callback) {
    if (!this.#events.has(event)) this.#events.set(event, new Listeners());
    return /** @type {Listeners} */ (this.#events.get(event)).add(callback);
  }

  /** @param {(status: ChannelStatus) => void} callback called at each change @returns {() => void} removes it */
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
    if (this.joinRef) this.socket.send([this.joinRef, this.socket.ref(), this.topic, "phx_leave", {}]);
    this.#become({ state: "left" });
  }

  /**
   * Send an event; resolves with the response of an ok reply.
   * @param {string} event
   * @param {object} [payload]
   * @returns {Promise<any>} rejects with PushError
   */
  push(event, payload = {}) {
    if (!this.joined) return Promise.reject(new PushError("offline", "not connected"));
    return this.#request(/** @type {string} */ (this.joinRef), this.socket.ref(), event, payload);
  }

  /** The socket is open (or the wait is over): join. */
  enter() {
    this.#forget("joining again");
    if (!this.socket.open) return this.#become({ state: "waiting", reason: "not connected" });
    const ref = this.socket.ref();
    this.joinRef = ref;
    this.#become({ state: "joining" });
    this.#request(ref, ref, "phx_join", this.params()).then(
      (response) => {
        if (this.joinRef !== ref) return;
        this.#tries = 0;
        this.#become({ state: "joined", response });
      },
      (/** @type {PushError} */ error) => {
        if (this.joinRef !== ref || error.kind === "offline") return;
        if (error.kind === "timeout") this.socket.send([ref, this.socket.ref(), this.topic, "phx_leave", {}]);
        this.#again(error.kind === "refused" ? "denied" : "waiting", error.message);
      },
    );
  }

  /** The socket is not open any more. @param {string} reason */
  lost(reason) {
    this.#forget(reason);
    this.#become({ state: "waiting", reason });
  }

  /**
   * @param {string|null} joinRef @param {string|null} ref @param {string} topic @param {string} event
   * @param {any} payload
   */
  received(joinRef, ref, topic, event, payload) {
    if (topic !== this.topic || (joinRef !== null && joinRef !== this.joinRef)) return;
    if (event === "phx_reply") this.#answered(ref ?? "", payload);
    else if (event === "phx_error") this.#again("waiting", payload?.reason ?? "the topic crashed");
    else if (event === "phx_close") this.#closed();
    else this.#events.get(event)?.tell(payload);
  }

  /**
   * @param {string} joinRef @param {string} ref @param {string} event @param {object} payload @returns {Promise<any>}
   */
  #request(joinRef, ref, event, payload) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(ref);
        reject(new PushError("timeout", "no answer from the server"));
      }, this.socket.options.timeout);
      this.#pending.set(ref, { resolve, reject, timer });
      this.socket.send([joinRef, ref, this.topic, event, payload]);
    });
  }

  /** @param {string} ref @param {{status: string, response: any}} payload */
  #answered(ref, { status, response }) {
    const waiting = this.#pending.get(ref);
    if (!waiting) return;
    this.#pending.delete(ref);
    clearTimeout(waiting.timer);
    if (status === "ok") waiting.resolve(response);
    else waiting.reject(new PushError("refused", response?.reason ?? "refused", response));
  }

  /** The server's end of the topic ended as it should: it does not want us back. */
  #closed() {
    this.socket.channels.delete(this);
    this.#forget("closed by the server");
    this.#become({ state: "left", reason: "closed by the server" });
  }

  /** @param {"denied"|"waiting"} state @param {string} reason */
  #again(state, reason) {
    this.#forget(reason);
    this.#tries += 1;
    this.#rejoin = setTimeout(() => this.enter(), backoff(this.#tries + 1, this.socket.options.random));
    this.#become({ state, reason });
  }

  /** This join is over: nothing that was asked under it will be answered. @param {string} reason */
  #forget(reason) {
    clearTimeout(this.#rejoin);
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(new PushError("offline", reason));
    }
    this.#pending.clear();
  }

  /** @param {ChannelStatus} status */
  #become(status) {
    this.status = status;
    this.#states.tell(status);
  }
}
