/** Who has how many points: a real list beside the canvas, with the same marks as on it. */

import { h, say } from "/understudy/dom.js";
import { mark, SHAPES } from "./figures.js";

/**
 * @typedef {import("./arena.js").Frame} Frame
 * @typedef {import("./arena.js").Agent} Agent
 */

/** @param {Frame} frame @param {Agent} agent */
export const wins = (frame, agent) => frame.over && frame.winner === agent.id;

/** The one with most points, if there is just one. @param {Frame} frame @returns {Agent|null} */
export function leading({ agents }) {
  const best = Math.max(...agents.map(({ score }) => score));
  const leaders = agents.filter(({ score }) => score === best);
  return leaders.length === 1 ? leaders[0] : null;
}

/** How an agent is, in a word. @param {Frame} frame @param {Agent} agent */
function condition(frame, agent) {
  if (wins(frame, agent)) return "wins";
  if (agent.lives === 0) return "out";
  if (!agent.alive) return "coming back";
  if (agent.power > 0 && !frame.over) return "power";
  return agent.lives === 1 ? "1 life" : `${agent.lives} lives`;
}

export class Scoreboard {
  /** @type {Map<string|number, {item: HTMLElement, score: HTMLElement, condition: HTMLElement}>} */ #rows = new Map();

  constructor() {
    this.list = h("ol", { class: "scoreboard", "aria-label": "Scores" });
  }

  /** Rows keep their places, so that the eye finds them; the leader is marked. @param {Frame} frame */
  show(frame) {
    if (frame.agents.length !== this.#rows.size || frame.agents.some(({ id }) => !this.#rows.has(id)))
      this.#cast(frame);
    const leader = leading(frame);
    for (const agent of frame.agents) {
      const row = this.#rows.get(agent.id);
      if (!row) continue;
      const won = wins(frame, agent);
      say(row.score, agent.score.toLocaleString("en"));
      say(row.condition, condition(frame, agent));
      row.item.toggleAttribute("data-leads", won || (!frame.over && agent === leader));
      row.item.toggleAttribute("data-away", !agent.alive && !won);
      row.item.toggleAttribute("data-out", agent.lives === 0 && !won);
      row.item.toggleAttribute("data-power", agent.alive && agent.power > 0 && !frame.over);
    }
  }

  clear() {
    this.#rows.clear();
    this.list.replaceChildren();
  }

  /** @param {Frame} frame */
  #cast(frame) {
    this.clear();
    frame.agents.forEach(({ id, name, colour }, order) => {
      const score = h("span", { class: "score figures", "data-score": true });
      const condition = h("span", { class: "condition small" });
      const item = h("li", { "data-agent": id, "data-shape": SHAPES[order % SHAPES.length].name });
      item.append(mark(order, colour), h("span", { class: "agent-name", title: name }, name), score, condition);
      this.#rows.set(id, { item, score, condition });
      this.list.append(item);
    });
  }
}
