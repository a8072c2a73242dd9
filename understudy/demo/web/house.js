/** The house around the stage: the nodes of the cluster, who served this page, and notices. */

import { clock, h, icon } from "/understudy/dom.js";

/**
 * @typedef {{name: string, roles: string[], status: "joining"|"active"|"dead"|"left", silent: string, address: string,
 *   pid: number, incarnation: number}} NodeInfo `silent`: why it is not heard at present, "" if it is
 * @typedef {{level: "info"|"warn", text: string, at: number}} Notice `at` in unix seconds
 */

const NODE = {
  active: { word: "", mark: "alive" },
  joining: { word: "joining", mark: "waiting" },
  dead: { word: "down", mark: "failing" },
  left: { word: "left", mark: "gone" },
};
/** There, as far as anybody knows, but it answers nobody. */
const SILENT = { word: "no answer", mark: "waiting" };
/** How long a notice stays. Milliseconds. */
const STAYS = { info: 8_000, warn: 20_000 };
/** So many at a time: where the page is narrow only the newest, or it would cover what it speaks of. */
const MOST = { wide: 3, narrow: 1 };
const narrow = matchMedia("(max-width: 860px)");
const CLOSE = "M6 6l12 12M18 6L6 18";

export class House {
  /** @type {NodeInfo[]} */ nodes = [];

  /** @param {{nodes: HTMLElement, served: HTMLElement, notices: HTMLElement}} places */
  constructor(places) {
    this.places = places;
    new ResizeObserver(() => this.#makeRoom()).observe(places.notices);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") /** @type {HTMLElement|null} */ (places.notices.lastElementChild)?.remove();
    });
  }

  /** Where the page scrolls, its end moves up by what the notices cover; who is at the end stays there. */
  #makeRoom() {
    const { scrollHeight, scrollTop, clientHeight } = document.documentElement;
    const atEnd = scrollHeight - scrollTop - clientHeight < 2;
    document.body.style.setProperty("--notices", `${this.places.notices.offsetHeight}px`);
    if (narrow.matches && atEnd) scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  }

  /** @param {string} node @param {number} pid */
  served(node, pid) {
    this.places.served.replaceChildren(
      "Served by ",
      h("b", {}, node),
      ", process ",
      h("span", { class: "figures" }, pid),
    );
    this.places.served.dataset.served = node;
    this.places.served.dataset.pid = String(pid);
  }

  /** @param {NodeInfo[]} nodes */
  cluster(nodes) {
    this.nodes = nodes;
    this.places.nodes.replaceChildren(
      ...nodes.map(({ name, roles, status, silent, address, pid }) => {
        const { word, mark } = status === "active" && silent ? SILENT : (NODE[status] ?? NODE.left);
        return h(
          "li",
          {
            "data-node": name,
            "data-pid": pid,
            "data-status": status,
            "data-silent": Boolean(silent),
            "data-mark": mark,
            title: `${name} (${roles.join(", ") || "no role"}) at ${address}, process ${pid}: ${silent || status}`,
          },
          h("span", { class: "mark", "aria-hidden": "true" }),
          h("b", { class: "cut" }, name),
          h("span", { class: "muted figures" }, word || String(pid)),
          h("span", { class: "unseen" }, silent ? "does not answer" : status),
        );
      }),
    );
  }

  /** Is there a node to play on? */
  get engine() {
    return this.nodes.some(({ roles, status }) => roles.includes("engine") && status === "active");
  }

  /** @param {Notice} notice */
  notice({ level, text, at }) {
    const { notices } = this.places;
    for (const shown of [...notices.children]) {
      if (/** @type {HTMLElement} */ (shown).dataset.text === text) shown.remove(); // the same again is news of now
    }
    const close = h(
      "button",
      { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => item.remove() },
      icon(CLOSE),
    );
    const item = h(
      "div",
      {
        class: "notice",
        "data-notice": level,
        "data-text": text,
        "data-mark": level === "warn" ? "failing" : "alive",
        onclick: () => getSelection()?.isCollapsed && item.remove(), // a tap anywhere, but not the end of marking text
      },
      h("span", { class: "mark", "aria-hidden": "true" }),
      h("p", {}, text, " ", clock(at)),
      close,
    );
    notices.append(item);
    while (notices.childElementCount > (narrow.matches ? MOST.narrow : MOST.wide)) notices.firstElementChild?.remove();
    this.#fade(item, STAYS[level] ?? STAYS.info);
  }

  /**
   * Leaves by itself, but not while somebody reads it with pointer or focus.
   * @param {HTMLElement} item @param {number} after
   */
  #fade(item, after) {
    setTimeout(() => (item.matches(":hover, :focus-within") ? this.#fade(item, 2_000) : item.remove()), after);
  }

  /** Something this page tried did not work. @param {string} text */
  trouble(text) {
    this.notice({ level: "warn", text, at: Date.now() / 1000 });
  }
}
