/** What was sent and waits for its reply, and the listeners that are told of what comes unasked. */
export type Waiting = {
    resolve: (response: any) => void;
    reject: (error: PushError) => void;
    timer: ReturnType<typeof setTimeout>;
};
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
export declare class PushError extends Error {
    kind: "offline" | "refused" | "timeout";
    response: any;
    /** The reason for programs, "" if the server names none. @type {string} */
    code: string;
    /** Whether the same may be granted later. @type {boolean} */
    retry: boolean;
    /**
     * @param {"refused"|"timeout"|"offline"} kind
     * @param {string} reason for people
     * @param {any} [response] the server's whole answer (refused)
     */
    constructor(kind: "refused" | "timeout" | "offline", reason: string, response?: any);
}
/** Requests that wait, by ref. What it tells is told at once, in the order of the frames. */
export declare class Requests {
    #private;
    /**
     * @param {string} ref @param {number} timeout milliseconds
     * @param {(response: any) => void} resolve @param {(error: PushError) => void} reject
     */
    add(ref: string, timeout: number, resolve: (response: any) => void, reject: (error: PushError) => void): void;
    /** @param {string|null} ref @param {{status: string, response: any}} payload of a phx_reply */
    answered(ref: string | null, { status, response }: {
        status: string;
        response: any;
    }): void;
    /** Nothing that was asked will be answered. @param {string} reason */
    forget(reason: string): void;
}
/** Callbacks of one kind; `add` returns the function that removes. One that throws does not keep the others waiting. */
export declare class Listeners {
    #private;
    /** @param {(...args: any[]) => void} callback */
    add(callback: (...args: any[]) => void): () => undefined;
    /** @param {any[]} args */
    tell(...args: any[]): void;
}
