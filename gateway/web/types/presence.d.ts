/**
 * Who is here: Phoenix Presence's merge rules as two pure functions, and a list that follows a channel by them.
 *
 * State is `{key: {metas: [{phx_ref, ...}, ...]}}`: one key per person, one meta per connection of theirs, told apart
 * by `phx_ref`. After each join the channel gets `presence_state` (everything), then `presence_diff`
 * (`{joins, leaves}`); a diff that comes before the state of the current join is kept until that state is here.
 */
export type Meta = {
    phx_ref: string;
    [field: string]: any;
};
export type PresenceState = Record<string, {
    metas: Meta[];
}>;
export type PresenceDiff = {
    joins: PresenceState;
    leaves: PresenceState;
};
/**
 * The state after a diff. Joins are applied before leaves, so that an update (both in one diff) keeps its key.
 * @param {PresenceState} state is not changed
 * @param {PresenceDiff} diff
 * @returns {PresenceState}
 */
export declare function syncDiff(state: PresenceState, { joins, leaves }: PresenceDiff): PresenceState;
/**
 * What changed from one whole state to the next, as a diff: `syncDiff(before, syncState(before, after))` is `after`.
 * @param {PresenceState} before
 * @param {PresenceState} after
 * @returns {PresenceDiff}
 */
export declare function syncState(before: PresenceState, after: PresenceState): PresenceDiff;
/** The people on a channel, kept current. */
export declare class Presence {
    #private;
    /** @type {PresenceState} */ state: PresenceState;
    /**
     * @param {import("./channel.js").Channel} channel
     * @param {(state: PresenceState, diff: PresenceDiff) => void} onChange called after each change, with what changed
     */
    constructor(channel: import("./channel.js").Channel, onChange: (state: PresenceState, diff: PresenceDiff) => void);
}
