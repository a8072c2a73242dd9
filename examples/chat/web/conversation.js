/**
 * A room as a page knows it, without a single element: what was said, who is here, what is being written, what is unread,
 * and what this visitor said that the room has not taken yet.
 *
 *     join room:<name> {name, me}  ->  {key, snapshot: {lines, earlier}}
 *                                                                 presence_state, presence_diff: who is here
 *     say {text, id}               ->  {id}                       line: one more line, once however often it is said
 *     draft {text}                                                draft: what stands in somebody's box, at each keystroke
 *     earlier {before}             ->  {lines, earlier}           the page of lines before that one
 *
 * A join resumes: the room sends the lines that were missed. Where it cannot, because it began anew, or it was too long ago, it
 * sends its last ones, and those between them and the ones that are here are asked for, page by page, until nothing is missing;
 * only if the room itself does not remember them, a mark says so (`gap` of the line that follows).
 */

import { Presence } from "/understudy/understudy.js";
import { chance, keep, keptJson } from "./me.js";

/**
 * @typedef {object} Line
 * @property {string} id
 * @property {string} key whose it is
 * @property {string} author
 * @property {string} text
 * @property {number} at unix seconds
 * @property {boolean} [gap] what was said before it is not known
 *
 * @typedef {{key: string, name: string, text: string|null}} Draft null: being written, and not shown
 * @typedef {{key: string, name: string, windows: number}} Person
 * @typedef {{id: string, text: string, refused: string}} Unsent `refused`: why; else it is sent as soon as that is possible
 * @typedef {{lines: Line[], earlier: boolean}} Page
 */

/** Lines that stay on the page; the oldest go first, and are asked for again by whoever scrolls back. */
const MOST = 600;

/** So many pages are asked for to close a gap; beyond, the page begins anew with the latest. */
const PAGES = 20;

/** Ask again for a line that was not answered, after this. Milliseconds. */
const AGAIN = 1_000;

/**
 * Fires `status`, `lines` (detail: {added, where: "end" | "start" | "anew"}), `drafts` (detail: the key), `people`, `unread`
 * and `unsent`.
 */
export class Conversation extends EventTarget {
  /** @type {Line[]} */ lines = [];
  /** @type {Map<string, Draft>} */ drafts = new Map();
  /** @type {Map<string, Person>} */ people = new Map();
  /** @type {Unsent[]} */ unsent = [];
  /** My own key. */ key = "";
  /** Whether there are earlier lines to be had. */ earlier = false;
  /** Whether the room has let this page in at least once. */ known = false;
  unread = 0;
  /** What stands in my box. */ box = "";
  /** @type {Set<string>} */ #ids = new Set();
  /** @type {Line[]|null} what is said while a gap is closed */ #held = null;
  #forgotten = false;
  #sending = false;
  /** @type {string|null} what the others last heard of my box */ #told = "";
  /** @type {Promise<void>|null} */ #loading = null;

  /**
   * @param {import("/understudy/understudy.js").Socket} socket
   * @param {string} name of the room
   * @param {import("./me.js").Me} me
   */
  constructor(socket, name, me) {
    super();
    this.name = name;
    this.me = me;
    this.channel = socket.channel(`room:${name}`, () => ({ name: me.name, me: me.secret }));
    this.presence = new Presence(this.channel, (state) => this.#present(state));
    this.channel.on("line", (line) => this.#heard(line));
    this.channel.on("draft", (draft) => this.#drafted(draft));
    this.channel.onResync((snapshot, { key }) => this.#resync(key, snapshot));
    this.channel.onState(({ state }) => this.#changed(state));
    me.addEventListener("name", () => this.#renamed());
    me.addEventListener("letters", () => this.write(this.box));
    this.channel.join();
  }

  get status() {
    return this.channel.status;
  }

  /** Go for good. */
  leave() {
    this.channel.leave();
  }

  // --- what this visitor does ---

  /**
   * Say a line: it is `unsent` until the room has it, and sent again under its id after whatever happens meanwhile.
   * @param {string} text
   */
  say(text) {
    this.unsent.push({ id: chance(3), text, refused: "" });
    this.write("");
    this.#fire("unsent");
    this.#send();
  }

  /** Take back a line that was refused. @param {string} id @returns {string} its text */
  takeBack(id) {
    const text = this.unsent.find((line) => line.id === id)?.text ?? "";
    this.unsent = this.unsent.filter((line) => line.id !== id);
    this.#fire("unsent");
    return text;
  }

  /** My box has changed: the others see it, letter by letter, or that I write. @param {string} box */
  write(box) {
    this.box = box;
    const text = box.trim() === "" ? "" : this.me.letters ? box : null;
    if (text !== this.#told && this.channel.send("draft", { text })) this.#told = text;
  }

  /** Everything that is here has been read. */
  seen() {
    const last = this.lines.at(-1);
    if (last) keep(`understudy.read.${this.name}`, JSON.stringify({ id: last.id, at: last.at }));
    this.#count(0);
  }

  /**
   * Ask for the page of lines before the first one.
   * @returns {Promise<void>} when it is here; rejects with why it is not
   */
  back() {
    this.#loading ??= this.#back().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #back() {
    const first = this.lines[0];
    if (!first || !this.earlier) return;
    const page = await this.#page(first);
    if (this.lines[0] !== first) return; // begun anew meanwhile
    const added = page.lines.filter(({ id }) => !this.#ids.has(id));
    for (const { id } of added) this.#ids.add(id);
    this.lines.unshift(...added);
    this.earlier = page.earlier;
    this.#fire("lines", { added, where: "start" });
  }

  /** Forget the oldest lines, since nobody looks at them: they can be had again. @returns {Line[]} those */
  trim() {
    if (this.lines.length <= MOST) return [];
    const gone = this.lines.splice(0, this.lines.length - MOST);
    for (const { id } of gone) this.#ids.delete(id);
    this.earlier = true;
    return gone;
  }

  /** The first unread line. */
  get firstUnread() {
    const others = this.lines.filter(({ key }) => key !== this.key);
    return this.unread > 0 ? others[Math.max(0, others.length - this.unread)] : undefined;
  }

  // --- what the room says ---

  /** What the room knows now. Between that and what this page has, something may be missing. @param {string} key @param {Page} page */
  #resync(key, page) {
    this.key = key;
    if (this.known) this.#meet(page);
    else this.#begin(page);
    this.known = true;
  }

  /** @param {string} state */
  #changed(state) {
    if (state === "joined") {
      this.#told = "";
      this.write(this.box);
      this.#send();
    } else {
      for (const key of [...this.drafts.keys()]) this.#drafted({ key, name: "", text: "" });
      if (this.#held) this.channel.cursor = null; // the gap is not closed: the next join begins where this one did
      this.#held = null;
    }
    this.#fire("status");
  }

  /** The first lines of this visit. What came since the last visit is unread. @param {Page} page */
  #begin(page) {
    this.#anew(page.lines, page.earlier);
    const mark = keptJson(`understudy.read.${this.name}`);
    if (!mark) return this.seen();
    const read = page.lines.findIndex(({ id }) => id === mark.id);
    const since = read >= 0 ? page.lines.slice(read + 1) : page.lines.filter(({ at }) => at > mark.at);
    this.#count(since.filter(({ key }) => key !== this.key).length);
  }

  /**
   * Come back: the room's last lines, and those between them and ours.
   * @param {Page} page
   */
  async #meet(page) {
    /** @type {Line[]} */ const held = [];
    this.#held = held;
    let { lines, earlier } = page;
    try {
      for (let asked = 0; this.#apart(lines) && earlier && asked < PAGES; asked++) {
        const page = await this.#page(lines[0]);
        lines = [...page.lines, ...lines];
        earlier = page.earlier;
      }
    } catch (error) {
      const { kind } = /** @type {import("/understudy/channel.js").PushError} */ (error);
      if (kind === "timeout" && this.#held === held) this.channel.join();
      if (kind !== "refused") return;
      earlier = false;
    }
    if (this.#held !== held) return; // cut meanwhile, or joined anew
    this.#held = null;
    const apart = this.#apart(lines);
    if (apart && earlier) this.#anew(lines, earlier);
    else this.#follow(lines, apart || (lines.length === 0 && this.lines.length > 0));
    this.#follow(held, false);
  }

  /** Nothing of this is here, though something is. @param {Line[]} lines */
  #apart(lines) {
    return this.lines.length > 0 && lines.length > 0 && !lines.some(({ id }) => this.#ids.has(id));
  }

  /** @param {Line} line @returns {Promise<Page>} */
  #page({ id }) {
    return this.channel.push("earlier", { before: id });
  }

  /** @param {Line[]} lines @param {boolean} earlier */
  #anew(lines, earlier) {
    this.lines = [...lines];
    this.#ids = new Set(lines.map(({ id }) => id));
    this.earlier = earlier;
    this.#fire("lines", { added: this.lines, where: "anew" });
  }

  /** Those of them that are not here yet, at the end. @param {Line[]} lines @param {boolean} gap */
  #follow(lines, gap) {
    this.#forgotten ||= gap;
    const added = lines.filter(({ id }) => !this.#ids.has(id));
    if (added.length === 0) return;
    if (this.#forgotten) added[0] = { ...added[0], gap: true };
    this.#forgotten = false;
    this.lines.push(...added);
    for (const { id } of added) this.#ids.add(id);
    const arrived = this.unsent.filter(({ id }) => !this.#ids.has(id));
    if (arrived.length < this.unsent.length) {
      this.unsent = arrived;
      this.#fire("unsent");
    }
    this.#count(this.unread + added.filter(({ key }) => key !== this.key).length);
    this.#fire("lines", { added, where: "end" });
  }

  /** @param {Line} line */
  #heard(line) {
    if (this.#held) this.#held.push(line);
    else this.#follow([line], false);
  }

  /** @param {Draft} draft */
  #drafted(draft) {
    if (draft.key === this.key) return; // of another window of mine
    if (draft.text === "") this.drafts.delete(draft.key);
    else this.drafts.set(draft.key, draft);
    this.#fire("drafts", draft.key);
  }

  /** @param {import("/understudy/presence.js").PresenceState} state */
  #present(state) {
    this.people = new Map(
      Object.entries(state).map(([key, { metas }]) => [
        key,
        { key, name: String(metas.at(-1)?.name ?? key), windows: metas.length },
      ]),
    );
    for (const key of [...this.drafts.keys()]) if (!state[key]) this.#drafted({ key, name: "", text: "" });
    this.#fire("people");
  }

  #renamed() {
    this.channel.send("rename", { name: this.me.name }); // a join says it, too
  }

  /** Send what is unsent, one line after the other: they stand in the order in which they were said. */
  async #send() {
    const next = this.unsent.find(({ refused }) => !refused);
    if (!next || this.#sending || !this.channel.joined) return;
    this.#sending = true;
    try {
      await this.channel.push("say", { text: next.text, id: next.id });
      this.unsent = this.unsent.filter(({ id }) => id !== next.id);
    } catch (error) {
      const { kind, message, retry } = /** @type {import("/understudy/channel.js").PushError} */ (error);
      if (kind === "refused" && !retry) next.refused = message;
      else if (kind !== "offline") setTimeout(() => this.#send(), AGAIN);
      if (!next.refused) return;
    } finally {
      this.#sending = false;
      this.#fire("unsent");
    }
    this.#send();
  }

  /** @param {number} unread */
  #count(unread) {
    if (unread === this.unread) return;
    this.unread = unread;
    this.#fire("unread");
  }

  /** @param {string} what @param {any} [detail] */
  #fire(what, detail) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }
}
