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

/**
 * @typedef {object} Frame
 * @property {string|null} joinRef
 * @property {string|null} ref
 * @property {string} topic
 * @property {string} event
 * @property {any} payload what JSON can say, or an ArrayBuffer
 * @property {number|null} offset its place in the topic's log, if it has one
 */

const PUSH = 0;
const REPLY = 1;
const BROADCAST = 2;
const OFFSET_SIZE = 8;

/**
 * A frame to send: binary when its payload is an ArrayBuffer or a view of one, else text.
 * @param {string|null} joinRef @param {string|null} ref @param {string} topic @param {string} event @param {any} payload
 * @returns {string|ArrayBuffer}
 */
export function encode(joinRef, ref, topic, event, payload) {
  const view = ArrayBuffer.isView(payload);
  if (!view && !(payload instanceof ArrayBuffer)) return JSON.stringify([joinRef, ref, topic, event, payload]);
  const data = view ? new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength) : new Uint8Array(payload);
  const words = [joinRef ?? "", ref ?? "", topic, event].map((word) => new TextEncoder().encode(word));
  for (const word of words)
    if (word.length > 255) throw new RangeError(`a word of a binary frame has at most 255 bytes, not ${word.length}`);
  const frame = new Uint8Array(words.reduce((size, word) => size + word.length, 1 + words.length + data.length));
  frame.set([PUSH, ...words.map((word) => word.length)]);
  let at = 1 + words.length;
  for (const part of [...words, data]) {
    frame.set(part, at);
    at += part.length;
  }
  return frame.buffer;
}

/** @param {string|ArrayBuffer} data @returns {Frame} throws if it is none */
export function decode(data) {
  if (typeof data !== "string") return decodeBinary(data);
  const [joinRef, ref, topic, event, payload] = JSON.parse(data);
  const offset = Number.isInteger(payload?._o) ? payload._o : null;
  return { joinRef, ref, topic, event, payload: value(payload), offset };
}

/**
 * What was said, without what was added to it on the way.
 * @param {any} payload @returns {any}
 */
export function value(payload) {
  if (payload === null || typeof payload !== "object" || Array.isArray(payload)) return payload;
  if ("_b" in payload) return Uint8Array.from(atob(payload._b), (letter) => letter.charCodeAt(0)).buffer;
  if ("_v" in payload) return payload._v;
  if (!("_o" in payload)) return payload;
  const { _o, ...rest } = payload;
  return rest;
}

/** @param {ArrayBuffer} data @returns {Frame} */
function decodeBinary(data) {
  const view = new DataView(data);
  const kind = view.getUint8(0);
  /** @param {number} count @returns {{words: string[], rest: ArrayBuffer}} */
  const split = (count) => {
    let at = 1 + count;
    const words = Array.from({ length: count }, (_, word) => {
      const size = view.getUint8(1 + word);
      at += size;
      return new TextDecoder().decode(new Uint8Array(data, at - size, size));
    });
    return { words, rest: data.slice(at) };
  };
  if (kind === PUSH) {
    const { words, rest } = split(3);
    return { joinRef: words[0] || null, ref: null, topic: words[1], event: words[2], payload: rest, offset: null };
  }
  if (kind === REPLY) {
    const { words, rest } = split(4);
    const payload = { status: words[3], response: rest };
    return { joinRef: words[0] || null, ref: words[1], topic: words[2], event: "phx_reply", payload, offset: null };
  }
  if (kind === BROADCAST) {
    const { words, rest } = split(2);
    const offset = Number(new DataView(rest).getBigUint64(0)) || null;
    return { joinRef: null, ref: null, topic: words[0], event: words[1], payload: rest.slice(OFFSET_SIZE), offset };
  }
  throw new TypeError(`a binary frame is of kind 0, 1 or 2, not ${kind}`);
}
