// What the chat's page knows of a room, without a browser: lines in order and once, gaps that are closed, lines that wait.

import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { beforeEach, test } from "node:test";

import { clock, Wire, wire } from "./wire.mjs";

// The page's modules name each other as the server serves them.
registerHooks({
  resolve: (name, context, next) =>
    next(
      name.startsWith("/understudy/")
        ? new URL(`../../gateway/web/${name.slice("/understudy/".length)}`, import.meta.url).href
        : name,
      context,
    ),
});
const { Conversation } = await import("../../examples/chat/web/conversation.js");
const { Me } = await import("../../examples/chat/web/me.js");
const { Socket } = await import("../../gateway/web/understudy.js");

const line = (number, key = "bob") => ({ id: `l${number}`, key, author: key, text: `${number}`, at: number });
const lines = (first, last) => Array.from({ length: last - first + 1 }, (_, at) => line(first + at));
const ids = (said) => said.map(({ id }) => Number(id.slice(1)));
const settled = () => new Promise((done) => setImmediate(done));

/** A page in a room whose last lines are these. */
const enter = (page, me = {}) => {
  const socket = new Socket("ws://house/socket/websocket", { WebSocket: Wire, random: () => 0 }).connect();
  const conversation = new Conversation(socket, "x", new Me({ name: "Ada", secret: "s".repeat(20), ...me }));
  wire().onopen();
  joined(page);
  return conversation;
};
const joined = (page, more = { recovered: false }) =>
  wire().answer("phx_join", "ok", { key: "ada", name: "Ada", epoch: "e", offset: 9, snapshot: page, ...more });
const hear = (event, payload) => wire().hear(null, null, "room:x", event, payload);
const sent = (event) => wire().sent.filter((frame) => frame[3] === event).map((frame) => frame[4]);
const cutAndBack = () => {
  wire().onclose({ code: 1006, reason: "" });
  clock.tick(1_000);
  wire().onopen();
};

beforeEach(() => clock.reset());

test("a line stands there once, however often it is heard", () => {
  const room = enter({ lines: lines(1, 3), earlier: false });
  hear("line", line(4));
  hear("line", line(4));
  assert.deepEqual(ids(room.lines), [1, 2, 3, 4]);
});

test("a resumed join asks for nothing: the missed lines are there in order", () => {
  const room = enter({ lines: lines(1, 3), earlier: true });
  cutAndBack();
  assert.deepEqual(sent("phx_join")[0].resume, { epoch: "e", offset: 9 });
  joined(undefined, { recovered: true, offset: 11, events: [[10, "line", line(4)], [11, "line", line(5)]] });
  assert.deepEqual(ids(room.lines), [1, 2, 3, 4, 5]);
  assert.deepEqual(sent("earlier"), []);
});

test("a gap is closed page by page, and what is said meanwhile comes after it", async () => {
  const room = enter({ lines: lines(1, 3), earlier: false });
  cutAndBack();
  joined({ lines: lines(8, 9), earlier: true });
  hear("line", line(10));
  assert.deepEqual(ids(room.lines), [1, 2, 3], "nothing after a gap while it is open");
  assert.deepEqual(sent("earlier"), [{ before: "l8" }]);
  wire().answer("earlier", "ok", { lines: lines(6, 7), earlier: true });
  await settled();
  wire().answer("earlier", "ok", { lines: lines(2, 5), earlier: true });
  await settled();
  assert.deepEqual(ids(room.lines), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.ok(room.lines.every(({ gap }) => !gap));
});

test("who is cut off while a gap is being closed does not resume behind it", async () => {
  const room = enter({ lines: lines(1, 3), earlier: false });
  cutAndBack();
  joined({ lines: lines(8, 9), earlier: true });
  cutAndBack();
  assert.equal(sent("phx_join")[0].resume, undefined);
  joined({ lines: lines(2, 9), earlier: true });
  await settled();
  assert.deepEqual(ids(room.lines), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("a page that is not answered in time does not leave a gap either", async () => {
  const room = enter({ lines: lines(1, 3), earlier: false });
  cutAndBack();
  joined({ lines: lines(8, 9), earlier: true });
  for (let second = 0; second < 10; second++) {
    clock.tick(1_000);
    hear("noise", {}); // the server is there
  }
  await settled();
  assert.equal(sent("phx_join").length, 2);
  assert.equal(sent("phx_join")[1].resume, undefined);
  joined({ lines: lines(1, 9), earlier: false });
  await settled();
  assert.deepEqual(ids(room.lines), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("what the room itself has forgotten is marked, on the first line that follows", async () => {
  const room = enter({ lines: lines(1, 3), earlier: false });
  cutAndBack();
  joined({ lines: lines(20, 21), earlier: false });
  await settled();
  assert.deepEqual(room.lines.map(({ gap }) => Boolean(gap)), [false, false, false, true, false]);
});

test("a room that comes back empty marks the first line that is said in it", async () => {
  const room = enter({ lines: lines(1, 3), earlier: false });
  cutAndBack();
  joined({ lines: [], earlier: false });
  await settled();
  hear("line", line(50));
  hear("line", line(51));
  assert.deepEqual(room.lines.map(({ gap }) => Boolean(gap)), [false, false, false, true, false]);
});

test("lines that are said while away go out in order, each once, under the id they keep", async () => {
  const room = enter({ lines: [], earlier: false });
  wire().onclose({ code: 1006, reason: "" });
  room.say("one");
  room.say("two");
  clock.tick(1_000);
  wire().onopen();
  joined({ lines: [], earlier: false });
  const [first] = sent("say");
  assert.deepEqual([first.text, sent("say").length], ["one", 1], "the second waits for the first");
  cutAndBack(); // its answer is lost
  await settled();
  joined({ lines: [], earlier: false });
  await settled();
  assert.deepEqual(sent("say"), [first], "again, under the same id");
  wire().answer("say", "ok", { id: first.id });
  await settled();
  assert.equal(sent("say")[1].text, "two");
  wire().answer("say", "ok", { id: sent("say")[1].id });
  await settled();
  assert.deepEqual(room.unsent, []);
});

test("a line that is refused for good waits for its writer, one that came too fast is sent again", async () => {
  const room = enter({ lines: [], earlier: false });
  room.say("too fast");
  wire().answer("say", "error", { reason: "rate limited", code: "rate_limited", retry: true });
  await settled();
  assert.equal(sent("say").length, 1);
  clock.tick(1_000);
  assert.deepEqual(sent("say")[0], sent("say")[1]);
  wire().answer("say", "error", { reason: "no such words", code: "refused", retry: false });
  await settled();
  assert.deepEqual(room.unsent.map(({ text, refused }) => [text, refused]), [["too fast", "no such words"]]);
  assert.equal(room.takeBack(room.unsent[0].id), "too fast");
  assert.deepEqual(room.unsent, []);
});

test("each letter is told once, a box without letters shown is told as writing, and all of it again after a cut", () => {
  const room = enter({ lines: [], earlier: false });
  for (const box of ["h", "he", "he", "h", "", "  "]) room.write(box);
  assert.deepEqual(sent("draft").map(({ text }) => text), ["h", "he", "h", ""]);
  room.write("secret");
  room.me.show(false);
  room.write("secrets");
  assert.deepEqual(sent("draft").map(({ text }) => text).slice(4), ["secret", null]);
  cutAndBack();
  joined({ lines: [], earlier: false });
  assert.deepEqual(sent("draft"), [{ text: null }]);
});

test("the drafts of others end with their line, with the connection, and with their leaving", () => {
  const room = enter({ lines: [], earlier: false });
  hear("presence_state", { bob: { metas: [{ phx_ref: "1", name: "Bob" }] } });
  const draft = (text, key = "bob") => hear("draft", { key, name: key, text });
  draft("h");
  draft("mine", "ada");
  assert.deepEqual([...room.drafts.keys()], ["bob"]);
  draft("");
  assert.equal(room.drafts.size, 0);
  draft("he");
  hear("presence_diff", { joins: {}, leaves: { bob: { metas: [{ phx_ref: "1", name: "Bob" }] } } });
  assert.equal(room.drafts.size, 0);
  draft("hel");
  cutAndBack();
  assert.equal(room.drafts.size, 0);
});

test("what others say is unread until it is seen", () => {
  const room = enter({ lines: lines(1, 3), earlier: false });
  assert.equal(room.unread, 0, "what was there at the first visit is not new");
  hear("line", line(4, "ada"));
  hear("line", line(5));
  hear("line", line(6));
  assert.deepEqual([room.unread, room.firstUnread?.id], [2, "l5"]);
  room.seen();
  assert.deepEqual([room.unread, room.firstUnread], [0, undefined]);
});

test("no more lines stay on the page than it can bear, and those that went can be had again", async () => {
  const room = enter({ lines: lines(1, 50), earlier: false });
  for (let number = 51; number <= 700; number++) hear("line", line(number));
  assert.equal(room.trim().length, 100);
  assert.deepEqual([room.lines.length, room.lines[0].id, room.earlier], [600, "l101", true]);
  const had = room.back();
  assert.deepEqual(sent("earlier"), [{ before: "l101" }]);
  wire().answer("earlier", "ok", { lines: lines(51, 100), earlier: true });
  await had;
  assert.deepEqual([room.lines.length, room.lines[0].id], [650, "l51"]);
});
