/**
 * Frames of Phoenix Channels V2 as a client reads and writes them: a pure codec.
 *
 *     text      [join_ref, ref, topic, event, payload]                                       JSON, both ways
 *
 *     binary    0  sizes of join_ref, ref, topic, event (a byte each)   the four   data      a push of ours
 *               0  sizes of join_ref, topic, event                      the three  data      an event for one member
 *               1  sizes of join_ref, ref, topic, status                the four   data      a reply
 *               2  sizes of topic, event                                the two    data      an event for all members
 *
 * The data of an event for all begins with the 8 bytes of its offset, since our address asks for that (`offsets=1`); an
 * offset of 0 is none. In a JSON payload the offset is the key `_o`; a payload that is no object comes as
 * `{"_v": it, "_o": offset}`, and bytes among the events that a join brings as `{"_b": base64}`.
 */
export type Frame = {
    joinRef: string | null;
    ref: string | null;
    topic: string;
    event: string;
    /**
     * what JSON can say, or an ArrayBuffer
     */
    payload: any;
    /**
     * its place in the topic's log, if it has one
     */
    offset: number | null;
};
/**
 * A frame to send: binary when its payload is an ArrayBuffer or a view of one, else text.
 * @param {string|null} joinRef @param {string|null} ref @param {string} topic @param {string} event @param {any} payload
 * @returns {string|ArrayBuffer}
 */
export declare function encode(joinRef: string | null, ref: string | null, topic: string, event: string, payload: any): string | ArrayBuffer;
/** @param {string|ArrayBuffer} data @returns {Frame} throws if it is none */
export declare function decode(data: string | ArrayBuffer): Frame;
/**
 * What was said, without what was added to it on the way.
 * @param {any} payload @returns {any}
 */
export declare function value(payload: any): any;
