/** How long a client waits before it comes back, and whether it does. The Python client follows the same rules. */
/**
 * Milliseconds before try number `tries` (1, 2, ...): exponential from 0.2 s to 10 s, up to half of which chance takes
 * off, so that a thousand clients that lost one server do not come back in one instant.
 * @param {number} tries
 * @param {() => number} [random] in [0, 1)
 */
export declare function backoff(tries: number, random?: () => number): number;
/**
 * What a close code asks of us: normal (1000), policy (1008) and the terminal ranges (3500-3999, 4500-4999) not to come
 * back; going away, restart and try later (1001, 1012, 1013) to come back spread over a window. The rest are accidents.
 * @param {number} code
 * @returns {"stop"|"spread"|"retry"}
 */
export declare function afterClose(code: number): "stop" | "spread" | "retry";
/**
 * The reason of a close: `refusal` for programs ("" if it names none), the sentence for people.
 * @param {string} reason "code: sentence", or any text
 */
export declare function explain(reason: string): {
    refusal: string;
    sentence: string;
};
