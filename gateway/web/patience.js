/** How long a client waits before it comes back, and whether it does. The Python client follows the same rules. */

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

/**
 * What a close code asks of us: normal (1000), policy (1008) and the terminal ranges (3500-3999, 4500-4999) not to come
 * back; going away, restart and try later (1001, 1012, 1013) to come back spread over a window. The rest are accidents.
 * @param {number} code
 * @returns {"stop"|"spread"|"retry"}
 */
export function afterClose(code) {
  if (code === 1000 || code === 1008 || (code >= 3500 && code < 4000) || code >= 4500) return "stop";
  return code === 1001 || code === 1012 || code === 1013 ? "spread" : "retry";
}

/**
 * The reason of a close: `refusal` for programs ("" if it names none), the sentence for people.
 * @param {string} reason "code: sentence", or any text
 */
export function explain(reason) {
  const [, refusal, sentence] = /^([a-z]+(?:_[a-z]+)*): (.+)$/s.exec(reason) ?? [reason, "", reason];
  return { refusal, sentence };
}
