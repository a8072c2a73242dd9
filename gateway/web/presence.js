/**
 * Who is here: Phoenix Presence's merge rules as two pure functions, and a list that follows a channel by them.
 *
 * State is `{key: {metas: [{phx_ref, ...}, ...]}}`: one key per person, one meta per connection of theirs, told apart
 * by `phx_ref`. After each join the channel gets `presence_state` (everything), then `presence_diff`
 * (`{joins, leaves}`); a diff that comes before the state of the current join is kept until that state is here.
 */

/**
 * @typedef {{phx_ref: string, [field: string]: any}} Meta
 * @typedef {Record<string, {metas: Meta[]}>} PresenceState
 * @typedef {{joins: PresenceState, leaves: PresenceState}} PresenceDiff
 */

/** @param {Meta[]} metas @param {Meta[]} others @returns {Meta[]} those of `metas` that are not in `others` */
function without(metas, others) {
  const refs = new Set(others.map((meta) => meta.phx_ref));
  return metas.filter((meta) => !refs.has(meta.phx_ref));
}

/**
 * The state after a diff. Joins are applied before leaves, so that an update (both in one diff) keeps its key.
 * @param {PresenceState} state is not changed
 * @param {PresenceDiff} diff
 * @returns {PresenceState}
 */
export function syncDiff(state, { joins, leaves }) {
  const next = { ...state };
  for (const [key, { metas }] of Object.entries(joins)) {
    next[key] = { ...joins[key], metas: [...without(next[key]?.metas ?? [], metas), ...metas] };
  }
  for (const [key, { metas }] of Object.entries(leaves)) {
    if (!next[key]) continue;
    const rest = without(next[key].metas, metas);
    if (rest.length > 0) next[key] = { ...next[key], metas: rest };
    else delete next[key];
  }
  return next;
}

/**
 * What changed from one whole state to the next, as a diff: `syncDiff(before, syncState(before, after))` is `after`.
 * @param {PresenceState} before
 * @param {PresenceState} after
 * @returns {PresenceDiff}
 */
export function syncState(before, after) {
  /** @param {PresenceState} from @param {PresenceState} to @returns {PresenceState} */
  const gained = (from, to) =>
    Object.fromEntries(
      Object.entries(to)
        .map(
          ([key, entry]) =>
            /** @type {const} */ ([key, { ...entry, metas: without(entry.metas, from[key]?.metas ?? []) }]),
        )
        .filter(([, { metas }]) => metas.length > 0),
    );
  return { joins: gained(before, after), leaves: gained(after, before) };
}

/** The people on a channel, kept current. */
export class Presence {
  /** @type {PresenceState} */ state = {};
  /** @type {PresenceDiff[]} */ #early = [];
  /** @type {string|null} */ #joinRef = null;

  /**
   * @param {import("./channel.js").Channel} channel
   * @param {(state: PresenceState, diff: PresenceDiff) => void} onChange called after each change, with what changed
   */
  constructor(channel, onChange) {
    channel.onState(({ state }) => {
      if (state === "joining") this.#early = [];
    });
    channel.on("presence_state", (/** @type {PresenceState} */ whole) => {
      this.#joinRef = channel.joinRef;
      const before = this.state;
      this.state = this.#early.reduce(syncDiff, whole);
      this.#early = [];
      onChange(this.state, syncState(before, this.state));
    });
    channel.on("presence_diff", (/** @type {PresenceDiff} */ diff) => {
      if (this.#joinRef !== channel.joinRef) return void this.#early.push(diff);
      const before = this.state;
      this.state = syncDiff(before, diff);
      onChange(this.state, syncState(before, this.state));
    });
  }
}
