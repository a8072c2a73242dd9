/** Who is on the stage: agents and ghosts, as paths in a 24 by 24 box, for the canvas and for the scoreboard alike. */

import { h } from "/understudy/dom.js";

/** An agent has a colour and a shape of its own, so that colour alone never tells two apart. `eyes`: where they sit. */
export const SHAPES = [
  { name: "disc", path: "M12 3.5a8.5 8.5 0 1 1 0 17a8.5 8.5 0 1 1 0-17z", eyes: 11 },
  { name: "square", path: "M5 5h14v14h-14z", eyes: 11 },
  { name: "triangle", path: "M12 4.5L20 19H4z", eyes: 14 },
  { name: "diamond", path: "M12 3.5L20.5 12L12 20.5L3.5 12z", eyes: 11.5 },
  { name: "hexagon", path: "M7.5 4.5h9L21 12l-4.5 7.5h-9L3 12z", eyes: 11 },
  { name: "cross", path: "M9 4h6v5h5v6h-5v5h-6v-5h-5v-6h5z", eyes: 11.5 },
];

const GHOST = "M4 21.5V11a8 8 0 0 1 16 0v10.5l-2.7-2.4-2.6 2.4-2.7-2.4-2.7 2.4-2.6-2.4z";
const FALLEN = "M6 6L18 18M18 6L6 18";

/** @type {Record<string, [number, number]>} */
export const STEPS = { up: [0, -1], down: [0, 1], left: [-1, 0], right: [1, 0], none: [0, 0] };

/**
 * An agent's mark for the scoreboard.
 * @param {number} order the agent's place in the frame: the same shape as on the stage
 * @param {string} colour
 */
export function mark(order, colour) {
  const { name, path } = SHAPES[order % SHAPES.length];
  const svg = h(
    "svg:svg",
    { class: "agent-mark", viewBox: "0 0 24 24", role: "img", "aria-label": name },
    h("svg:path", { d: path }),
  );
  svg.style.color = colour;
  return svg;
}

/** @type {Map<string, Path2D>} */
const paths = new Map();
/** @param {string} data */
function shape(data) {
  if (!paths.has(data)) paths.set(data, new Path2D(data));
  return /** @type {Path2D} */ (paths.get(data));
}

/**
 * Draw inside of one cell, in the 24 by 24 box.
 * @param {CanvasRenderingContext2D} pen @param {number} x centre, in pixels @param {number} y
 * @param {number} size of the figure, in pixels
 * @param {() => void} draw
 */
function inBox(pen, x, y, size, draw) {
  pen.save();
  pen.translate(x - size / 2, y - size / 2);
  pen.scale(size / 24, size / 24);
  pen.lineJoin = pen.lineCap = "round";
  draw();
  pen.restore();
}

/**
 * @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} rx @param {number} ry
 * @param {string} colour
 */
function dot(pen, x, y, rx, ry, colour) {
  pen.beginPath();
  pen.ellipse(x, y, rx, ry, 0, 0, 7);
  pen.fillStyle = colour;
  pen.fill();
}

/**
 * @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} cell
 * @param {{colour: string, dir: string, alive: boolean, power: number}} agent @param {number} order
 * @param {Record<string, string>} light @param {number} beat 0 to 1: power is a ring that breathes
 */
export function drawAgent(pen, x, y, cell, agent, order, light, beat) {
  const { path, eyes } = SHAPES[order % SHAPES.length];
  if (agent.alive && agent.power > 0) {
    pen.strokeStyle = light.lamp;
    pen.lineWidth = Math.max(1.5, cell * 0.09);
    pen.globalAlpha = 0.55 + 0.45 * beat;
    pen.beginPath();
    pen.arc(x, y, cell * (0.64 + 0.06 * beat), 0, 7);
    pen.stroke();
    pen.globalAlpha = 1;
  }
  inBox(pen, x, y, cell * 0.98, () => {
    const body = shape(path);
    if (!agent.alive) {
      pen.globalAlpha = 0.75;
      pen.strokeStyle = agent.colour;
      pen.lineWidth = 2;
      pen.stroke(body);
      pen.stroke(shape(FALLEN));
      return;
    }
    pen.strokeStyle = light.stage;
    pen.lineWidth = 6;
    pen.stroke(body);
    pen.strokeStyle = pen.fillStyle = agent.colour;
    pen.lineWidth = 3;
    pen.stroke(body);
    pen.fill(body);
    const [dx, dy] = STEPS[agent.dir] ?? STEPS.none;
    for (const side of [-3.6, 3.6]) {
      dot(pen, 12 + side + dx * 1.6, eyes + dy * 1.6, 2.7, 3.1, "#fff");
      dot(pen, 12 + side + dx * 2.6, eyes + dy * 2.8, 1.5, 1.7, "#20161a");
    }
  });
}

/**
 * @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} cell
 * @param {{dir: string, scared: number, home: boolean}} ghost @param {Record<string, string>} light
 */
export function drawGhost(pen, x, y, cell, ghost, light) {
  inBox(pen, x, y, cell * 0.98, () => {
    const sheet = shape(GHOST);
    const ending = ghost.scared > 0 && ghost.scared < 12 && ghost.scared % 4 < 2;
    pen.globalAlpha = ghost.home ? 0.45 : 1;
    pen.strokeStyle = ghost.scared ? (ending ? light.ghost : light.ghostScared) : light.stage;
    pen.lineWidth = ghost.scared ? 2.4 : 2;
    pen.fillStyle = ghost.scared ? light.stage : light.ghost;
    pen.fill(sheet);
    pen.stroke(sheet);
    const [dx, dy] = STEPS[ghost.dir] ?? STEPS.none;
    const eye = !ghost.scared ? light.stage : ending ? light.ghost : light.ghostScared;
    for (const side of [-3.2, 3.2])
      dot(pen, 12 + side + dx * 1.2, 11 + dy * 1.2, ghost.scared ? 1.4 : 1.9, ghost.scared ? 1.4 : 2.8, eye);
    if (!ghost.scared) return;
    pen.lineWidth = 1.6;
    pen.stroke(shape("M7.5 16l2.2-1.6 2.3 1.6 2.3-1.6 2.2 1.6"));
  });
}

/**
 * Names above their agents; below, where another name already is.
 * @param {CanvasRenderingContext2D} pen @param {{name: string, at: [number, number]}[]} cast @param {number} cell
 * @param {number} width
 * @param {Record<string, string>} light
 */
export function drawNames(pen, cast, cell, width, light) {
  pen.font = `600 ${Math.round(cell * 0.44)}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  pen.lineWidth = cell * 0.2;
  pen.strokeStyle = light.stage;
  pen.fillStyle = light.stageInk;
  /** @type {{x: number, y: number, half: number}[]} */ const placed = [];
  for (const {
    name,
    at: [x, y],
  } of cast) {
    const short = name.length > 12 ? `${name.slice(0, 11)}…` : name;
    const half = pen.measureText(short).width / 2;
    const place = { x: Math.min(Math.max(x, half + 2), width - half - 2), y: y - cell * 0.86, half };
    const taken = placed.some(
      (other) => Math.abs(other.x - place.x) < other.half + half && Math.abs(other.y - place.y) < cell * 0.5,
    );
    if (taken || place.y < cell * 0.4) place.y = y + cell * 0.92;
    placed.push(place);
    pen.strokeText(short, place.x, place.y);
    pen.fillText(short, place.x, place.y);
  }
}
