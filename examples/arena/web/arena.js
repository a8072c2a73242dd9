/**
 * The arena on a canvas, with its scoreboard: give it frames, it plays them.
 *
 * Frames come ten times a second and hold whole cells; the arena draws sixty times a second and lets everybody walk
 * from where they are seen to where the newest frame says, in the time between two frames. It never runs ahead.
 *
 * ```js
 * const arena = new Arena(document.querySelector("#place"));
 * channel.on("frame", (frame) => arena.show(frame));
 * ```
 */

import { h } from "/understudy/dom.js";
import { drawAgent, drawGhost, drawNames } from "./figures.js";
import { Scenery } from "./scenery.js";
import { leading, Scoreboard, wins } from "./scoreboard.js";

/**
 * @typedef {{id: string|number, x: number, y: number, dir: string}} Actor
 * @typedef {Actor & {name: string, colour: string, score: number, lives: number, power: number, alive: boolean}} Agent
 * @typedef {Actor & {scared: number, home: boolean}} Ghost
 * @typedef {{turn: number, of: number, act: number, seed: number, rows: string[], agents: Agent[], ghosts: Ghost[],
 *   over: boolean, winner: string|number|null}} Frame
 */

/** Frames are a tenth of a second apart; a single late or early one bends the walk this far at most. Milliseconds. */
const STEP = { usual: 100, least: 50, most: 250 };
/** Without a frame for this long the stage stands still. Milliseconds. */
const ASLEEP = 1_500;
/** How long the lights take to find the winner. Milliseconds. */
const FINALE = 900;
/** Below this cell size, in CSS pixels, names are left to the scoreboard. */
const NAMES_FROM = 16;

const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Arena {
  /** @type {Frame|null} */ frame = null;
  /** @type {Scenery|null} */ #scenery = null;
  /** @type {Map<string, [number, number]>} */ #from = new Map();
  #came = 0;
  #step = STEP.usual;
  #ended = 0;
  #raf = 0;
  /** @type {CanvasRenderingContext2D} */ #pen;

  /** @param {HTMLElement} host is filled; its width, and its height if it has one, are used as they are */
  constructor(host) {
    this.canvas = /** @type {HTMLCanvasElement} */ (
      h("canvas", { role: "img", "aria-label": "The arena, seen from above" })
    );
    this.box = h("div", { class: "arena-box" }, this.canvas);
    this.scoreboard = new Scoreboard();
    this.#pen = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    host.classList.add("arena");
    host.replaceChildren(this.box, this.scoreboard.list);
    new ResizeObserver(this.#fit).observe(this.box);
    new MutationObserver(this.#fit).observe(document.documentElement, { attributeFilter: ["data-light"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.#fit);
  }

  /** @param {Frame} frame the newest one */
  show(frame) {
    const now = performance.now();
    const old = this.frame;
    const follows = old !== null && frame.turn > old.turn && sameMaze(old.rows, frame.rows);
    const places = follows ? this.#places(now) : new Map();
    if (follows) {
      const took = Math.min(STEP.most, Math.max(STEP.least, (now - this.#came) / (frame.turn - old.turn)));
      this.#step += (took - this.#step) / 4;
    }
    this.frame = frame;
    this.#from = places;
    this.#came = now;
    this.#ended = frame.over ? (follows && !old.over ? now : now - FINALE) : 0;
    if (!old || !sameMaze(old.rows, frame.rows)) this.#fit();
    else this.#scenery?.update(frame.rows);
    this.scoreboard.show(frame);
    if (still.matches || !follows) this.#draw(now);
    if (!still.matches && !this.#raf) this.#raf = requestAnimationFrame(this.#tick);
  }

  /** An empty, dark stage. */
  clear() {
    cancelAnimationFrame(this.#raf);
    this.#raf = 0;
    this.frame = this.#scenery = null;
    this.#from.clear();
    this.scoreboard.clear();
    this.#pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    delete this.canvas.dataset.turn;
  }

  /** @param {number} now */
  #tick = (now) => {
    this.#raf = 0;
    if (!this.frame) return;
    this.#draw(now);
    const busy = this.#ended ? now - this.#ended < FINALE + this.#step : now - this.#came < ASLEEP;
    if (busy && !still.matches) this.#raf = requestAnimationFrame(this.#tick);
  };

  /** The largest whole number of device pixels per cell that fits the box; the scenery is painted at that size. */
  #fit = () => {
    if (!this.frame) return;
    const rows = this.frame.rows;
    const [across, down] = [rows[0].length, rows.length];
    this.box.style.setProperty("--arena-ratio", `${across} / ${down}`);
    const ratio = devicePixelRatio;
    const room = Math.min((this.box.clientWidth * ratio) / across, (this.box.clientHeight * ratio) / down);
    const cell = Math.max(4, Math.floor(room));
    this.canvas.width = across * cell;
    this.canvas.height = down * cell;
    this.canvas.style.width = `${this.canvas.width / ratio}px`;
    this.canvas.style.height = `${this.canvas.height / ratio}px`;
    this.#scenery = new Scenery(rows, cell, lights(this.canvas));
    this.#draw(performance.now());
  };

  /** Where everybody is seen at this moment, by key. @param {number} now @returns {Map<string, [number, number]>} */
  #places(now) {
    const places = new Map();
    if (!this.frame) return places;
    const part = still.matches ? 1 : Math.min(1, (now - this.#came) / this.#step);
    const width = this.frame.rows[0].length;
    const height = this.frame.rows.length;
    for (const [key, { x, y }] of everybody(this.frame)) {
      const from = this.#from.get(key) ?? [x, y];
      places.set(key, [walk(from[0], x, part, width), walk(from[1], y, part, height)]);
    }
    return places;
  }

  /** @param {number} now */
  #draw(now) {
    const { frame } = this;
    const scenery = this.#scenery;
    if (!frame || !scenery) return;
    const pen = this.#pen;
    const { cell, light, width, height } = scenery;
    const places = this.#places(now);
    const beat = still.matches ? 0.5 : 0.5 + 0.5 * Math.sin(now / 240);
    const at = (/** @type {string} */ key) =>
      /** @type {[number, number]} */ ((places.get(key) ?? [0, 0]).map((place) => (place + 0.5) * cell));
    const leader = leading(frame);

    pen.clearRect(0, 0, width, height);
    pen.drawImage(scenery.dark.canvas, 0, 0);
    for (const agent of frame.agents.filter(({ alive }) => alive)) {
      const radius = (agent === leader ? 4.6 : 3.4) + (agent.power > 0 ? 0.8 + 0.4 * beat : 0);
      scenery.shine(pen, ...at(`a${agent.id}`), radius);
    }
    pen.drawImage(scenery.pellets.canvas, 0, 0);
    scenery.glow(pen, beat);
    for (const ghost of frame.ghosts)
      this.#wrapped(at(`g${ghost.id}`), width, (x, y) => drawGhost(pen, x, y, cell, ghost, light));
    const cast = frame.agents.map((agent) => (wins(frame, agent) ? { ...agent, alive: true, power: 0 } : agent));
    cast.forEach((agent, order) =>
      this.#wrapped(at(`a${agent.id}`), width, (x, y) => drawAgent(pen, x, y, cell, agent, order, light, beat)),
    );
    if (cell / devicePixelRatio >= NAMES_FROM) {
      const named = cast.filter(({ alive }) => alive).map(({ id, name }) => ({ name, at: at(`a${id}`) }));
      drawNames(pen, named, cell, width, light);
    }
    if (frame.over) this.#finale(pen, now, width, height, frame.winner === null ? null : at(`a${frame.winner}`), cell);
    this.canvas.dataset.turn = String(frame.turn);
  }

  /**
   * Someone who leaves on one side comes in on the other: drawn on both.
   * @param {[number, number]} place @param {number} width @param {(x: number, y: number) => void} draw
   */
  #wrapped([x, y], width, draw) {
    draw(x, y);
    const half = width / (2 * (this.frame?.rows[0].length ?? 1));
    if (x < half) draw(x + width, y);
    if (x > width - half) draw(x - width, y);
  }

  /**
   * The end: the house lights go, one spot finds the winner.
   * @param {CanvasRenderingContext2D} pen @param {number} now @param {number} width @param {number} height
   * @param {[number, number]|null} winner @param {number} cell
   */
  #finale(pen, now, width, height, winner, cell) {
    const part = still.matches ? 1 : Math.max(0, Math.min(1, (now - this.#ended) / FINALE)); // a frame may be older than its end
    const night = `color-mix(in srgb, ${this.#scenery?.light.stage} ${Math.round(74 * part)}%, transparent)`;
    const shade = winner
      ? pen.createRadialGradient(...winner, cell * 1.6, ...winner, cell * (3.2 + 6 * (1 - part)))
      : night;
    if (typeof shade !== "string") {
      shade.addColorStop(0, "transparent");
      shade.addColorStop(1, night);
    }
    pen.globalCompositeOperation = "source-atop";
    pen.fillStyle = shade;
    pen.fillRect(0, 0, width, height);
    pen.globalCompositeOperation = "source-over";
    if (!winner) return;
    const [x, y] = winner;
    const top = x + (width / 2 - x) * 0.25;
    const beam = pen.createLinearGradient(0, 0, 0, y);
    beam.addColorStop(0, `rgb(255 214 150 / ${0.03 * part})`);
    beam.addColorStop(1, `rgb(255 214 150 / ${0.2 * part})`);
    pen.fillStyle = beam;
    pen.beginPath();
    pen.moveTo(top - cell * 0.4, 0);
    pen.lineTo(top + cell * 0.4, 0);
    pen.lineTo(x + cell * 1.9, y);
    pen.ellipse(x, y, cell * 1.9, cell * 1.5, 0, 0, Math.PI);
    pen.fill();
  }
}

/** @param {Frame} frame @returns {[string, Actor][]} */
function everybody({ agents, ghosts }) {
  return [
    ...agents.map((agent) => /** @type {[string, Actor]} */ ([`a${agent.id}`, agent])),
    ...ghosts.map((ghost) => /** @type {[string, Actor]} */ ([`g${ghost.id}`, ghost])),
  ];
}

/**
 * One axis of a walk. A step over the edge goes through it; a leap (back to the start, home) is not walked.
 * @param {number} from @param {number} to @param {number} part @param {number} size
 */
function walk(from, to, part, size) {
  let distance = to - from;
  if (Math.abs(distance) > size / 2) distance -= Math.sign(distance) * size;
  if (Math.abs(distance) > 2.5) return to;
  return ((((from + distance * part + 0.5) % size) + size) % size) - 0.5;
}

/** @param {string[]} one @param {string[]} other */
function sameMaze(one, other) {
  const walls = (/** @type {string[]} */ rows) => rows.join("\n").replace(/[.o]/g, " ");
  return one.length === other.length && one[0].length === other[0].length && walls(one) === walls(other);
}

/** The stage's colours as they are now. @param {Element} element @returns {Record<string, string>} */
function lights(element) {
  const style = getComputedStyle(element);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    stage: colour("--stage"),
    stageInk: colour("--stage-ink"),
    stageMuted: colour("--stage-muted"),
    scenery: colour("--scenery"),
    sceneryLit: colour("--scenery-lit"),
    lamp: colour("--lamp"),
    ghost: colour("--ghost"),
    ghostScared: colour("--ghost-scared"),
  };
}
