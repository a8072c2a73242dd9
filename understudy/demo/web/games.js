/** The list of games: what is on, what was earlier. One row per run, kept in place and updated as the server tells. */

import { clock, count, h, say } from "/understudy/dom.js";

/**
 * @typedef {"starting"|"running"|"finished"|"cancelled"|"failed"|"lost"} RunState
 * @typedef {object} Run
 * @property {string} id
 * @property {string} program
 * @property {{seed?: number, [name: string]: any}} args
 * @property {RunState} state
 * @property {string|null} node engine node
 * @property {number|null} pid
 * @property {number|null} worker_pid
 * @property {number|null} started unix seconds
 * @property {number|null} ended unix seconds
 * @property {number} turn
 * @property {Result|null} result
 * @property {string|null} reason why it ended as it did: one line, or a traceback
 * @property {number} [viewers]
 *
 * @typedef {object} Result by agent id
 * @property {string|null} winner
 * @property {Record<string, string>} names
 * @property {Record<string, number>} scores
 *
 * @typedef {{id: string, name: string, score: number}} Score
 */

/** What each state is called, and which signal it gives. */
export const STATES = {
  starting: { word: "Starting", mark: "waiting" },
  running: { word: "On now", mark: "alive" },
  finished: { word: "Finished", mark: "gone" },
  cancelled: { word: "Cancelled", mark: "gone" },
  failed: { word: "Failed", mark: "failing" },
  lost: { word: "Lost", mark: "failing" },
};

/** @param {Run} run */
export const underWay = (run) => run.state === "starting" || run.state === "running";

/** A short name for people; the whole id stays in the link. @param {{id: string}} run */
export const title = (run) => `Game ${run.id.slice(0, 4)}`;

/** The scores of a finished game, best first. @param {Run} run @returns {Score[]} */
function standings({ result }) {
  if (!result) return [];
  return Object.entries(result.scores)
    .map(([id, score]) => ({ id, name: result.names?.[id] ?? id, score: Number(score) }))
    .sort((one, other) => other.score - one.score);
}

/** @param {Run} run @returns {string} who won, or that nobody did */
export function verdict(run) {
  const scores = standings(run);
  const winner = scores.find(({ id }) => id === run.result?.winner);
  return winner
    ? `${winner.name} won with ${winner.score.toLocaleString("en")}`
    : scores.length
      ? `A draw at ${scores[0].score.toLocaleString("en")}`
      : "";
}

/** A reason in one line: of a traceback the last one, which says what happened. @param {Run} run */
export function headline(run) {
  const lines = (run.reason ?? "").trim().split("\n");
  return lines[0].startsWith("Traceback") ? lines[lines.length - 1] : lines[0];
}

/** @param {Run} run */
function details(run) {
  if (run.state === "finished")
    return standings(run)
      .map(({ name, score }) => `${name} ${score.toLocaleString("en")}`)
      .join(", ");
  if (!underWay(run)) return headline(run) || (run.turn ? `at turn ${run.turn}` : "");
  return [run.node && `on ${run.node}`, run.viewers && count(run.viewers, "viewer")].filter(Boolean).join(", ");
}

/** Ended games in the list; the oldest leave it. The server remembers about as many. */
const MOST = 200;

export class Games {
  /** @type {Map<string, Run>} */ runs = new Map();
  /** @type {Map<string, Record<string, HTMLElement>>} */ #rows = new Map();
  #watched = "";

  /** @param {HTMLElement} host */
  constructor(host) {
    this.nowEmpty = h("p", { class: "empty muted", hidden: true });
    this.now = h("ul", { "aria-label": "On now" });
    this.earlier = h("ul", { "aria-label": "Earlier" });
    this.earlierTitle = h("h3", { class: "small muted", hidden: true }, "Earlier");
    host.replaceChildren(this.nowEmpty, this.now, this.earlierTitle, this.earlier);
    for (let i = 0; i < 2; i++)
      this.now.append(
        h(
          "li",
          { "aria-hidden": "true" },
          h(
            "a",
            { class: "game" },
            h("span", { class: "skeleton" }, "Game 0000"),
            h("span", { class: "skeleton" }, "On now"),
            h("span", { class: "skeleton small" }, "on engine-1, 2 viewers"),
          ),
        ),
      );
  }

  /** Everything there is, as told at (re)join: what the server does not name any more is gone. @param {Run[]} runs */
  reset(runs) {
    this.runs.clear();
    this.#rows.clear();
    this.now.replaceChildren();
    this.earlier.replaceChildren();
    for (const run of runs) this.update(run);
    this.#empty();
  }

  /** @param {Run} run new, or changed */
  update(run) {
    this.runs.set(run.id, run);
    const row = this.#rows.get(run.id) ?? this.#row(run);
    const { word, mark } = STATES[run.state];
    row.item.dataset.state = run.state;
    row.state.dataset.mark = mark;
    say(row.word, word);
    say(row.details, details(run));
    row.details.title = details(run);
    const list = underWay(run) ? this.now : this.earlier;
    if (row.item.parentElement !== list) {
      const focused = row.item.contains(document.activeElement);
      const older = [...list.children].find(
        (item) =>
          (this.runs.get(/** @type {HTMLElement} */ (item).dataset.run ?? "")?.started ?? 0) <=
          (run.started ?? Infinity),
      );
      list.insertBefore(row.item, older ?? null);
      if (focused) row.link.focus();
      if (this.earlier.childElementCount > MOST)
        this.#forget(/** @type {HTMLElement} */ (this.earlier.lastElementChild));
    }
    this.#empty();
  }

  /** Mark the one that is on stage. @param {string} id "" for none */
  watch(id) {
    this.#rows.get(this.#watched)?.link.removeAttribute("aria-current");
    this.#rows.get(id)?.link.setAttribute("aria-current", "true");
    this.#watched = id;
  }

  /** @returns {Run|undefined} the newest game under way */
  newest() {
    return [...this.runs.values()]
      .filter(underWay)
      .sort((one, other) => (other.started ?? Infinity) - (one.started ?? Infinity))[0];
  }

  /** @param {Run} run */
  #row(run) {
    const word = h("span");
    const state = h("span", { class: "state small" }, h("span", { class: "mark", "aria-hidden": "true" }), word);
    const began = h("span", { class: "began small muted figures" }, run.started ? clock(run.started) : "");
    const details = h("span", { class: "details small muted cut" });
    const link = h(
      "a",
      { class: "game", href: `#run/${encodeURIComponent(run.id)}` },
      h("b", { class: "mono" }, title(run)),
      state,
      details,
      began,
    );
    const item = h("li", { "data-run": run.id }, link);
    if (run.id === this.#watched) link.setAttribute("aria-current", "true");
    const row = { item, link, state, word, details };
    this.#rows.set(run.id, row);
    return row;
  }

  /** @param {HTMLElement} item */
  #forget(item) {
    item.remove();
    this.runs.delete(item.dataset.run ?? "");
    this.#rows.delete(item.dataset.run ?? "");
  }

  #empty() {
    const any = this.now.childElementCount > 0;
    this.nowEmpty.hidden = any;
    say(this.nowEmpty, any ? "" : "No game is on. Press New game to start one.");
    this.earlierTitle.hidden = this.earlier.childElementCount === 0;
  }
}
