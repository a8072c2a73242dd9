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
export { Channel } from "./channel.js";
export { afterClose, backoff } from "./patience.js";
export { Presence, syncDiff, syncState } from "./presence.js";
export { PushError } from "./requests.js";
export type ChannelState = import("./channel.js").ChannelState;
export type ChannelStatus = import("./channel.js").ChannelStatus;
export type Cursor = import("./channel.js").Cursor;
export type Meta = import("./presence.js").Meta;
export type PresenceState = import("./presence.js").PresenceState;
export type PresenceDiff = import("./presence.js").PresenceDiff;
export type SocketState = "idle" | "connecting" | "open" | "waiting" | "closed";
export type SocketStatus = {
    /**
     * `waiting` tries again by itself, `closed` does not
     */
    state: SocketState;
    /**
     * unix milliseconds at which the connection was lost; null while it is not
     */
    since: number | null;
    /**
     * whole seconds without a word from a server that owes an answer; 0 while it speaks (open)
     */
    silent: number;
    /**
     * whole seconds until the next try, counted down once a second (0 unless waiting)
     */
    seconds: number;
    /**
     * the last close code, 0 if there is none
     */
    code: number;
    /**
     * the last close reason in words
     */
    reason: string;
    /**
     * the same for programs, "" if the server named none
     */
    refusal: string;
};
export type Token = string | (() => string | Promise<string>);
/** One WebSocket to the gateway, kept alive: heartbeat, reconnection, and the joins of its channels after each. */
export declare class Socket {
    #private;
    path: string;
    options: {
        token: Token | undefined;
        timeout: number;
        heartbeat: number;
        unwatched: number;
        quiet: number;
        patience: number;
        spread: number;
        random: () => number;
        WebSocket: {
            new (url: string | URL, protocols?: string | string[]): WebSocket;
            prototype: WebSocket;
            readonly CONNECTING: 0;
            readonly OPEN: 1;
            readonly CLOSING: 2;
            readonly CLOSED: 3;
        };
    };
    /** @type {SocketStatus} */
    status: SocketStatus;
    /** @type {Set<Channel>} */ channels: Set<Channel>;
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
    constructor(path?: string, options?: {
        token?: Token;
        timeout?: number;
        heartbeat?: number;
        unwatched?: number;
        quiet?: number;
        patience?: number;
        spread?: number;
        random?: () => number;
        WebSocket?: typeof WebSocket;
    });
    /** Open the connection, and keep it. */
    connect(): this;
    /** Close for good; channels stop with it. */
    disconnect(): void;
    /** Try now: instead of at the end of the countdown, or although the server closed for good. */
    retry(): void;
    /** @param {(status: SocketStatus) => void} callback called now and at each change @returns {() => void} removes it */
    onState(callback: (status: SocketStatus) => void): () => void;
    /**
     * @param {string} topic for example "room:lobby"
     * @param {object | (() => object)} [params] the join's payload; a function is asked at each (re)join
     * @returns {Channel} to be joined
     */
    channel(topic: string, params?: object | (() => object)): Channel;
    get open(): boolean;
    /** @returns {string} the next reference, unique on this socket */
    ref(): string;
    /**
     * @param {string|null} joinRef @param {string|null} ref @param {string} topic @param {string} event @param {any} payload
     * @returns {boolean} false: not open, nothing was sent
     */
    send(joinRef: string | null, ref: string | null, topic: string, event: string, payload: any): boolean;
    /**
     * Go on with a new token, on this connection and on later ones.
     * @param {Token} token
     * @returns {Promise<void>} rejects with PushError if the server does not take it, and with what a function throws
     */
    authorize(token: Token): Promise<void>;
}
