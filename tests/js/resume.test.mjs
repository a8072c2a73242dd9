// What our browser client does about gaps: cursors, recovered events, re-syncs, kept values, binary events.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { decode, encode } from "../../gateway/web/frames.js";
import { Socket } from "../../gateway/web/understudy.js";
import { clock, Wire, wire } from "./wire.mjs";

/** A channel, and all that its listeners are told, in order. */
const topic = () => {
  const socket = new Socket("ws://house/socket/websocket", { WebSocket: Wire, random: () => 0 }).connect();
  const channel = socket.channel("room:x", { name: "Ada" });
  const told = [];
  channel.onState(({ state, recovered }) => told.push(state === "joined" ? `joined ${recovered}` : state));
  channel.onResync((snapshot, response) => told.push(["resync", snapshot, response]));
  channel.on("line", (payload) => told.push(payload));
  channel.join();
  wire().onopen();
  told.length = 0;
  return { socket, channel, told };
};
const join = (response) => wire().answer("phx_join", "ok", response);
const joins = () => wire().sent.filter((frame) => frame[3] === "phx_join").map((frame) => frame[4]);
const back = () => {
  wire().onclose({ code: 1006, reason: "" });
  clock.tick(400);
  wire().onopen();
};

beforeEach(() => clock.reset());

test("the first join is a re-sync: its snapshot and the room's answer are what there is", () => {
  const { channel, told } = topic();
  assert.deepEqual(joins(), [{ name: "Ada" }]);
  join({ epoch: "e", offset: 7, recovered: false, snapshot: { lines: 2 }, topic: "x" });
  assert.deepEqual(told, [["resync", { lines: 2 }, { topic: "x" }], "joined false"]);
  assert.deepEqual(channel.cursor, { epoch: "e", offset: 7 });
  assert.deepEqual(channel.status.response, { topic: "x" });
});

test("after a cut the join names the last event that came, and what was missed is told before what is new", () => {
  const { channel, told } = topic();
  join({ epoch: "e", offset: 7, recovered: false });
  wire().hear(null, null, "room:x", "line", { text: "eight", _o: 8 });
  told.length = 0;
  back();
  assert.deepEqual(joins(), [{ name: "Ada", resume: { epoch: "e", offset: 8 } }]);
  join({ epoch: "e", offset: 10, recovered: true, events: [[9, "line", { text: "nine" }], [10, "line", 10]] });
  wire().hear(null, null, "room:x", "line", { _v: [11], _o: 11 });
  assert.deepEqual(told, ["waiting", "joining", { text: "nine" }, 10, "joined true", [11]]);
  assert.deepEqual(channel.cursor, { epoch: "e", offset: 11 });
});

test("one that is cut before its first event is covered by the cursor of its join", () => {
  const { told } = topic();
  join({ epoch: "e", offset: 7, recovered: false });
  told.length = 0;
  back();
  assert.deepEqual(joins()[0].resume, { epoch: "e", offset: 7 });
  join({ epoch: "e", offset: 8, recovered: true, events: [[8, "line", 8]] });
  assert.deepEqual(told, ["waiting", "joining", 8, "joined true"]);
});

test("a cut in the middle of a join changes nothing about what is asked for", () => {
  topic();
  join({ epoch: "e", offset: 7, recovered: false });
  back();
  back();
  assert.deepEqual(joins()[0].resume, { epoch: "e", offset: 7 });
});

test("what the server does not know any more is a re-sync, and offsets of the new life count anew", () => {
  const { channel, told } = topic();
  join({ epoch: "e", offset: 70, recovered: false });
  told.length = 0;
  back();
  join({ epoch: "f", offset: 2, recovered: false, snapshot: "all" });
  wire().hear(null, null, "room:x", "line", { n: 3, _o: 3 });
  assert.deepEqual(told, ["waiting", "joining", ["resync", "all", {}], "joined false", { n: 3 }]);
  assert.deepEqual(channel.cursor, { epoch: "f", offset: 3 });
});

test("an event that came already is not told again, and one without a place always is", () => {
  const { channel, told } = topic();
  join({ epoch: "e", offset: 7, recovered: false });
  told.length = 0;
  for (const offset of [7, 8, 8, 6]) wire().hear(null, null, "room:x", "line", { offset, _o: offset });
  for (const typed of ["h", "he"]) wire().hear(null, null, "room:x", "line", { typed });
  assert.deepEqual(told, [{ offset: 8 }, { typed: "h" }, { typed: "he" }]);
  assert.deepEqual(channel.cursor, { epoch: "e", offset: 8 });
});

test("a server that keeps no log just works: each join is a re-sync", () => {
  const { channel, told } = topic();
  join({ menu: ["tea"], events: "its own" });
  told.length = 0;
  back();
  assert.deepEqual(joins(), [{ name: "Ada" }]);
  join({ menu: [] });
  assert.deepEqual(told, ["waiting", "joining", ["resync", null, { menu: [] }], "joined false"]);
  assert.equal(channel.cursor, null);
});

test("a cursor that was kept over a reload is asked for at the first join", () => {
  const socket = new Socket("ws://house/socket/websocket", { WebSocket: Wire }).connect();
  const channel = socket.channel("room:x");
  channel.cursor = { epoch: "e", offset: 3 };
  channel.join();
  wire().onopen();
  assert.deepEqual(joins(), [{ resume: { epoch: "e", offset: 3 } }]);
});

test("a channel that leaves while it hears what it missed hears no more of it", () => {
  const { channel, told } = topic();
  join({ epoch: "e", offset: 0, recovered: false });
  back();
  told.length = 0;
  channel.on("line", () => channel.leave());
  join({ epoch: "e", offset: 2, recovered: true, events: [[1, "line", 1], [2, "line", 2]] });
  assert.deepEqual(told, [1, "left"]);
  assert.equal(channel.status.state, "left");
});

const bytes = (...numbers) => new Uint8Array(numbers).buffer;
const binary = (kind, words, data) => {
  const parts = words.map((word) => [...new TextEncoder().encode(word)]);
  return bytes(kind, ...parts.map((part) => part.length), ...parts.flat(), ...new Uint8Array(data));
};

test("binary events come as bytes, live and recovered, and move the cursor", () => {
  const { channel, told } = topic();
  join({ epoch: "e", offset: 0, recovered: false });
  told.length = 0;
  wire().onmessage({ data: binary(2, ["room:x", "line"], bytes(0, 0, 0, 0, 0, 0, 1, 2, 5, 6)) });
  wire().onmessage({ data: binary(2, ["room:x", "line"], bytes(0, 0, 0, 0, 0, 0, 0, 0, 7)) });
  wire().onmessage({ data: binary(0, ["1", "room:x", "line"], bytes(8)) });
  assert.deepEqual(told, [bytes(5, 6), bytes(7), bytes(8)]);
  assert.deepEqual(channel.cursor, { epoch: "e", offset: 258 });
  told.length = 0;
  back();
  join({ epoch: "e", offset: 259, recovered: true, events: [[259, "line", { _b: "BQb/" }]] });
  assert.deepEqual(told, ["waiting", "joining", bytes(5, 6, 255), "joined true"]);
});

test("bytes are pushed in a binary frame, and a binary reply is the answer", async () => {
  const { channel } = topic();
  join({});
  const answer = channel.push("draw", new Uint8Array([0, 1, 2, 3]).subarray(1, 3));
  assert.deepEqual(wire().sent.at(-1), binary(0, ["1", "2", "room:x", "draw"], bytes(1, 2)));
  wire().onmessage({ data: binary(1, ["1", "2", "room:x", "ok"], bytes(9)) });
  assert.deepEqual(await answer, bytes(9));
  assert.throws(() => encode(null, null, "x".repeat(256), "e", bytes()), RangeError);
  assert.throws(() => decode(bytes(9)), TypeError);
});

test("what is sent without a wish for an answer has no ref, and is not sent outside of a join", () => {
  const { channel } = topic();
  assert.equal(channel.send("typing", { letter: "a" }), false);
  join({});
  assert.equal(channel.send("typing", { letter: "a" }), true);
  assert.deepEqual(wire().sent.at(-1), ["1", null, "room:x", "typing", { letter: "a" }]);
});
