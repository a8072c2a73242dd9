/** What was sent and waits for its reply, and the listeners that are told of what comes unasked. */

/**
 * @typedef {object} Waiting
 * @property {(response: any) => void} resolve
 * @property {(error: PushError) => void} reject
 * @property {ReturnType<typeof setTimeout>} timer
 */

/**
 * A join or push that was not answered with ok. `kind` says which way: refused by the server, not answered, or not sent
 * at all (or lost with the connection: then whether the server acted is unknown).
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
    /** The reason for programs, "" if the server names none. @type {string} */
    this.code = response?.code ?? "";
    /** Whether the same may be granted later. @type {boolean} */
    this.retry = response?.retry !== false;
  }
}

/** Requests that wait, by ref. What it tells is told at once, in the order of the frames. */
export class Requests {
  /** @type {Map<string, Waiting>} */
  #waiting = new Map();

  /**
   * @param {string} ref @param {number} timeout milliseconds
   * @param {(response: any) => void} resolve @param {(error: PushError) => void} reject
   */
  add(ref, timeout, resolve, reject) {
    const timer = setTimeout(() => {
      this.#waiting.delete(ref);
      reject(new PushError("timeout", "no answer from the server"));
    }, timeout);
    this.#waiting.set(ref, { resolve, reject, timer });
  }

  /** @param {string|null} ref @param {{status: string, response: any}} payload of a phx_reply */
  answered(ref, { status, response }) {
    const waiting = this.#waiting.get(ref ?? "");
    if (!waiting) return;
    this.#waiting.delete(ref ?? "");
    clearTimeout(waiting.timer);
    if (status === "ok") waiting.resolve(response);
    else waiting.reject(new PushError("refused", response?.reason ?? "refused", response));
  }

  /** Nothing that was asked will be answered. @param {string} reason */
  forget(reason) {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject, timer } of all) {
      clearTimeout(timer);
      reject(new PushError("offline", reason));
    }
  }
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
