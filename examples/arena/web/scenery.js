/**
 * What does not move: the maze as it stands in the dark, the same maze lit, the pellets, and the light that shows one
 * in the other.
 */

/**
 * @param {number} width @param {number} height
 * @returns {CanvasRenderingContext2D} the pen of a canvas that is not on the page
 */
function sheet(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/** @param {string[]} rows @param {number} x @param {number} y */
const isWall = (rows, x, y) => rows[y]?.[x] === "#";

export class Scenery {
  /**
   * @param {string[]} rows @param {number} cell pixels @param {Record<string, string>} light the stage's colours
   */
  constructor(rows, cell, light) {
    this.cell = cell;
    this.light = light;
    this.width = rows[0].length * cell;
    this.height = rows.length * cell;
    this.dark = sheet(this.width, this.height);
    this.lit = sheet(this.width, this.height);
    this.pellets = sheet(this.width, this.height);
    this.pool = sheet(12 * cell, 12 * cell);
    /** @type {string[]} */ this.rows = rows.map((row) => " ".repeat(row.length));
    /** @type {[number, number][]} */ this.lamps = [];
    this.#paint(this.dark, rows, light.scenery, `color-mix(in oklab, ${light.scenery} 20%, ${light.stage})`, null);
    this.#paint(
      this.lit,
      rows,
      light.sceneryLit,
      `color-mix(in oklab, ${light.sceneryLit} 30%, ${light.stage})`,
      `color-mix(in srgb, ${light.lamp} 17%, transparent)`,
    );
    this.update(rows);
  }

  /**
   * Walls are one thick rounded line through the centres of wall cells: a rim, and its inside. The floor ends there.
   * @param {CanvasRenderingContext2D} pen @param {string[]} rows @param {string} rim @param {string} inside
   * @param {string|null} floor
   */
  #paint(pen, rows, rim, inside, floor) {
    const { cell } = this;
    const ground = new Path2D();
    const lines = new Path2D();
    const blocks = new Path2D();
    rows.forEach((row, y) => {
      for (let x = 0; x < row.length; x++) {
        const [cx, cy] = [(x + 0.5) * cell, (y + 0.5) * cell];
        if (row[x] === "-") {
          pen.fillStyle = this.light.ghost;
          pen.globalAlpha = 0.5;
          pen.fillRect(x * cell, cy - cell * 0.06, cell, cell * 0.12);
          pen.globalAlpha = 1;
        }
        if (row[x] !== "#") {
          ground.rect((x - 0.5) * cell, (y - 0.5) * cell, 2 * cell, 2 * cell);
          continue;
        }
        const right = isWall(rows, x + 1, y);
        const below = isWall(rows, x, y + 1);
        lines.moveTo(cx, cy);
        lines.lineTo(cx + (right ? cell : 0.01), cy);
        if (below) {
          lines.moveTo(cx, cy);
          lines.lineTo(cx, cy + cell);
        }
        if (right && below && isWall(rows, x + 1, y + 1)) blocks.rect(cx, cy, cell, cell);
      }
    });
    if (floor) {
      pen.fillStyle = floor;
      pen.fill(ground);
    }
    pen.lineCap = pen.lineJoin = "round";
    for (const [colour, width] of /** @type {const} */ ([
      [rim, 0.58],
      [inside, 0.58 - Math.max(0.1, 3 / cell)],
    ])) {
      pen.strokeStyle = pen.fillStyle = colour;
      pen.lineWidth = cell * width;
      pen.stroke(lines);
      pen.fill(blocks);
    }
  }

  /** Redraw only the pellets that changed. @param {string[]} rows */
  update(rows) {
    const { cell, pellets: pen } = this;
    if (rows.every((row, y) => row === this.rows[y])) return;
    pen.fillStyle = this.light.stageMuted;
    rows.forEach((row, y) => {
      if (row === this.rows[y]) return;
      for (let x = 0; x < row.length; x++) {
        if (row[x] === this.rows[y][x]) continue;
        pen.clearRect(x * cell, y * cell, cell, cell);
        if (row[x] !== ".") continue;
        pen.beginPath();
        pen.arc((x + 0.5) * cell, (y + 0.5) * cell, Math.max(1, cell * 0.085), 0, 7);
        pen.fill();
      }
    });
    this.rows = rows;
    this.lamps = rows.flatMap((row, y) =>
      [...row].flatMap((char, x) => (char === "o" ? [/** @type {[number, number]} */ ([x, y])] : [])),
    );
  }

  /**
   * Power pellets: lamps on the floor.
   * @param {CanvasRenderingContext2D} pen @param {number} beat 0 to 1, how bright
   */
  glow(pen, beat) {
    const { cell } = this;
    for (const lamp of this.lamps) {
      const [x, y] = lamp.map((place) => (place + 0.5) * cell);
      const halo = pen.createRadialGradient(x, y, 0, x, y, cell * 1.2);
      halo.addColorStop(0, this.light.lamp);
      halo.addColorStop(1, "transparent");
      pen.globalAlpha = 0.3 + 0.3 * beat;
      pen.fillStyle = halo;
      pen.fillRect(x - cell * 1.2, y - cell * 1.2, cell * 2.4, cell * 2.4);
      pen.globalAlpha = 1;
      pen.fillStyle = this.light.lamp;
      pen.beginPath();
      pen.arc(x, y, cell * (0.24 + 0.04 * beat), 0, 7);
      pen.fill();
    }
  }

  /**
   * A pool of warm light around a place: the lit maze, seen through a soft round hole.
   * @param {CanvasRenderingContext2D} pen @param {number} x centre in pixels @param {number} y
   * @param {number} radius in cells, at most 6
   */
  shine(pen, x, y, radius) {
    const { pool, cell } = this;
    const r = Math.round(radius * cell);
    const [left, top] = [Math.round(x) - r, Math.round(y) - r];
    pool.globalCompositeOperation = "copy";
    const hole = pool.createRadialGradient(r, r, 0, r, r, r);
    for (const [at, alpha] of [
      [0, 1],
      [0.35, 0.75],
      [0.7, 0.25],
      [1, 0],
    ])
      hole.addColorStop(at, `rgb(0 0 0 / ${alpha})`);
    pool.fillStyle = hole;
    pool.fillRect(0, 0, 2 * r, 2 * r);
    pool.globalCompositeOperation = "source-in";
    pool.drawImage(this.lit.canvas, -left, -top);
    pen.drawImage(pool.canvas, 0, 0, 2 * r, 2 * r, left, top, 2 * r, 2 * r);
  }
}
