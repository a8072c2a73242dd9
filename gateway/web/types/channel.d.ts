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
export type ChannelState = "joining" | "joined" | "waiting" | "denied" | "left";
export type ChannelStatus = {
    /**
     * `waiting` joins again by itself, `denied` too if `retry` is true, `left` does not
     */
    state: ChannelState;
    /**
     * what the room answered to the join (joined)
     */
    response?: any;
    /**
     * whether the join went on where the one before ended (joined)
     */
    recovered?: boolean;
    /**
     * why it is not joined, for people
     */
    reason?: string;
    /**
     * the same for programs (denied)
     */
    code?: string;
    /**
     * whether the same join may be granted later (denied)
     */
    retry?: boolean;
};
export type Cursor = {
    /**
     * the life of the log: another one has other offsets
     */
    epoch: string;
    offset: number;
};
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
export declare class Channel {
    #private;
    socket: import("./understudy.js").Socket;
    topic: string;
    params: () => object;
    /** @type {ChannelStatus} */ status: ChannelStatus;
    /** @type {string|null} */ joinRef: string | null;
    /**
     * The place of the last event that came, null where the server keeps no log. Kept over a reload of the page and set
     * before `join()`, it brings what was said since.
     * @type {Cursor|null}
     */
    cursor: Cursor | null;
    /** @param {import("./understudy.js").Socket} socket @param {string} topic @param {() => object} params */
    constructor(socket: import("./understudy.js").Socket, topic: string, params: () => object);
    get joined(): boolean;
    /**
     * @param {string} event
     * @param {(payload: any) => void} callback gets what JSON can say, or an ArrayBuffer
     * @returns {() => void} removes it
     */
    on(event: string, callback: (payload: any) => void): () => void;
    /**
     * Whatever was shown before may have gaps: begin anew. Called at each join that was not recovered, the first included.
     * @param {(snapshot: any, response: any) => void} callback gets the room's snapshot (null if it makes none), and what it
     *   answered to the join
     * @returns {() => void} removes it
     */
    onResync(callback: (snapshot: any, response: any) => void): () => void;
    /**
     * @param {(status: ChannelStatus) => void} callback called at each change; of a join after what it brought
     * @returns {() => void} removes it
     */
    onState(callback: (status: ChannelStatus) => void): () => void;
    /** Join now, or as soon as the socket is open. Calling it again joins again, with new params. */
    join(): this;
    /** Leave for good. */
    leave(): void;
    /**
     * Send an event; resolves with the response of an ok reply.
     * @param {string} event
     * @param {any} [payload] what JSON can say, an ArrayBuffer or a view of one
     * @returns {Promise<any>} rejects with PushError
     */
    push(event: string, payload?: any): Promise<any>;
    /**
     * Send an event that nobody answers: for what is worth nothing a moment later.
     * @param {string} event
     * @param {any} [payload]
     * @returns {boolean} false: not joined, nothing was sent
     */
    send(event: string, payload?: any): boolean;
    /** The socket is open (or the wait is over): join. */
    enter(): void;
    /** The socket is not open any more. @param {string} reason */
    lost(reason: string): void;
    /** @param {import("./frames.js").Frame} frame */
    received({ joinRef, ref, topic, event, payload, offset }: import("./frames.js").Frame): void;
}
