// What our browser client promises, without a browser: a scripted WebSocket, and node's own test runner and clock.

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { afterClose, backoff, Presence, PushError, Socket, syncDiff, syncState } from "../../gateway/web/understudy.js";
import { clock, Wire, wire } from "./wire.mjs";

const settled = () => new Promise((resolve) => setImmediate(resolve));
const topic = (name = "room:x", params = {}) => {
  const socket = new Socket("ws://house/socket/websocket", { WebSocket: Wire, random: () => 0 }).connect();
  const channel = socket.channel(name, params);
  const states = [];
  channel.onState(({ state }) => states.push(state));
  channel.join();
  return { socket, channel, states };
};
const joined = async (response = {}) => {
  const all = topic();
  wire().onopen();
  wire().answer("phx_join", "ok", response);
  await settled();
  return all;
};

beforeEach(() => clock.reset());

test("a join before the socket is open is sent when it opens, and brings the reply", async () => {
  const { channel, states } = topic("room:x", () => ({ name: "Ada" }));
  assert.equal(wire().address, "ws://house/socket/websocket?vsn=2.0.0&offsets=1&refusals=close");
  assert.deepEqual(wire().sent, []);
  wire().onopen();
  assert.deepEqual(wire().sent, [["1", "1", "room:x", "phx_join", { name: "Ada" }]]);
  wire().answer("phx_join", "ok", { key: "k" });
  await settled();
  assert.deepEqual(states, ["waiting", "joining", "joined"]);
  assert.deepEqual(channel.status.response, { key: "k" });
});

test("a push resolves with the response, or rejects with what the server says", async () => {
  const { channel } = await joined();
  const good = channel.push("say", { text: "hello" });
  wire().answer("say", "ok", { id: 7 });
  assert.deepEqual(await good, { id: 7 });
  const bad = channel.push("say", { text: "" });
  wire().answer("say", "error", { reason: "empty message" });
  await assert.rejects(
    bad,
    (error) => error instanceof PushError && error.kind === "refused" && error.message === "empty message",
  );
});

test("a push without an answer is rejected after the timeout, and outside of a join at once", async () => {
  const { channel } = await joined();
  const push = channel.push("say");
  mock.timers.tick(10_000);
  await assert.rejects(push, { kind: "timeout" });
  channel.leave();
  await assert.rejects(channel.push("say"), { kind: "offline" });
});

test("pushes under way are rejected when the connection is lost, and the topic joins again", async () => {
  const { socket, channel, states } = await joined();
  const push = channel.push("say");
  const first = wire();
  first.onclose({ code: 1006, reason: "" });
  await assert.rejects(push, { kind: "offline" });
  assert.equal(socket.status.state, "waiting");
  mock.timers.tick(200);
  assert.notEqual(wire(), first);
  wire().onopen();
  wire().answer("phx_join", "ok");
  await settled();
  assert.deepEqual(states.slice(-3), ["waiting", "joining", "joined"]);
});

test("the wait for the next try is counted down in whole seconds", () => {
  const { socket } = topic();
  for (const tries of [1, 2, 3, 4, 5]) {
    wire().onclose({ code: 1006, reason: "" });
    if (tries < 5) mock.timers.tick(200 * 2 ** (tries - 1));
  }
  const seconds = [socket.status.seconds];
  socket.onState(({ seconds: left, state }) => state === "waiting" && seconds.push(left));
  for (const step of [200, 1_000, 1_000, 1_000]) mock.timers.tick(step);
  assert.deepEqual([...new Set(seconds)], [4, 3, 2, 1]);
  assert.equal(socket.status.state, "connecting");
});

test("messages of an earlier join are not heard", async () => {
  const { channel } = await joined();
  const heard = [];
  channel.on("line", (payload) => heard.push(payload));
  wire().hear("1", null, "room:x", "line", "old or new?");
  channel.join();
  wire().hear("1", null, "room:x", "line", "old");
  wire().hear(null, null, "room:x", "line", "to everybody");
  wire().hear(null, null, "room:y", "line", "of another topic");
  assert.deepEqual(heard, ["old or new?", "to everybody"]);
});

test("a crashed topic is joined again, a closed one is not", async () => {
  const { channel } = await joined();
  wire().hear("1", null, "room:x", "phx_error", {});
  assert.equal(channel.status.state, "waiting");
  mock.timers.tick(400);
  wire().answer("phx_join", "ok");
  await settled();
  assert.equal(channel.status.state, "joined");
  wire().hear(channel.joinRef, null, "room:x", "phx_close", {});
  assert.equal(channel.status.state, "left");
  mock.timers.tick(60_000);
  assert.equal(wire().sent.filter((frame) => frame[3] === "phx_join").length, 2);
});

test("a denied join says why, and is tried again unless the server says that it need not be", () => {
  const { channel } = topic();
  wire().onopen();
  wire().answer("phx_join", "error", { reason: "too many rooms", code: "too_many_rooms", retry: true });
  const denied = { state: "denied", reason: "too many rooms", code: "too_many_rooms", retry: true };
  assert.deepEqual(channel.status, denied);
  mock.timers.tick(400);
  assert.equal(channel.status.state, "joining");
  wire().answer("phx_join", "error", { reason: "you may not come in", code: "banned", retry: false });
  mock.timers.tick(60_000);
  assert.deepEqual(channel.status, { state: "denied", reason: "you may not come in", code: "banned", retry: false });
  channel.join();
  assert.equal(channel.status.state, "joining", "a page may have another name by now");
});

/** Let so many seconds pass, one at a time; what is silent and open after each. */
const pass = (seconds, socket, each = () => undefined) =>
  Array.from({ length: seconds }, () => {
    mock.timers.tick(1_000);
    each();
    return `${socket.status.state} ${socket.status.silent}`;
  });

test("a server that stops answering is called silent after 6 s, and given up soon after", async () => {
  const { socket } = await joined();
  mock.timers.tick(3_000);
  assert.equal(wire().sent.at(-1)[3], "phx_join", "nothing is asked yet");
  mock.timers.tick(1_000);
  assert.equal(wire().sent.at(-1)[3], "heartbeat");
  wire().answer("heartbeat", "ok");
  assert.deepEqual(pass(8, socket), [
    ...Array(5).fill("open 0"),
    ...["open 6", "open 7", "open 8"],
  ]);
  assert.deepEqual(pass(4, socket), ["open 9", "open 10", "open 11", "waiting 0"]);
  assert.equal(wire().closed, true);
});

test("a silent server that speaks again, whatever it says, is connected at once", async () => {
  const { socket } = await joined();
  assert.equal(pass(7, socket).at(-1), "open 7");
  wire().hear(null, null, "room:y", "line", {});
  assert.equal(`${socket.status.state} ${socket.status.silent}`, "open 0");
  assert.deepEqual(new Set(pass(60, socket, () => wire().answer("heartbeat", "ok"))), new Set(["open 0"]));
});

test("one that talks all the time is asked all the same: the server, too, wants to hear that somebody is there", async () => {
  const { socket } = await joined();
  pass(60, socket, () => wire().hear(null, null, "room:x", "line", {}));
  assert.equal(wire().sent.filter((frame) => frame[3] === "heartbeat").length, 15);
});

test("a page that nobody looks at asks less often, and looks at once when it is seen again", async (context) => {
  const page = Object.assign(new EventTarget(), { hidden: false, visibilityState: "visible" });
  globalThis.document = page;
  context.after(() => delete globalThis.document);
  const { socket } = await joined();
  const beats = () => wire().sent.filter((frame) => frame[3] === "heartbeat").length;
  const seen = (hidden) => {
    Object.assign(page, { hidden, visibilityState: hidden ? "hidden" : "visible" });
    page.dispatchEvent(new Event("visibilitychange"));
  };
  seen(true);
  pass(40, socket, () => beats() && wire().answer("heartbeat", "ok"));
  assert.equal(beats(), 2);
  pass(15, socket);
  seen(false);
  assert.equal(beats(), 3);
  assert.deepEqual(pass(2, socket), ["open 0", "open 17"], "15 s of silence are no news before an answer is due");
});

test("a callback that throws does not keep the others from hearing", async () => {
  const { channel } = await joined();
  const later = mock.method(globalThis, "queueMicrotask", () => undefined);
  const heard = [];
  channel.on("line", () => {
    throw new Error("mine");
  });
  channel.on("line", (payload) => heard.push(payload));
  wire().hear(null, null, "room:x", "line", 1);
  assert.deepEqual(heard, [1]);
  assert.throws(later.mock.calls[0].arguments[0], { message: "mine" });
  later.mock.restore();
});

test("close codes say whether to come back", () => {
  assert.deepEqual([1000, 1008, 3500, 4500].map(afterClose), ["stop", "stop", "stop", "stop"]);
  assert.deepEqual([1001, 1012, 1013].map(afterClose), ["spread", "spread", "spread"]);
  assert.deepEqual([1005, 1006, 1011, 3000, 4000].map(afterClose), ["retry", "retry", "retry", "retry", "retry"]);
  const { socket } = topic();
  wire().onclose({ code: 1008, reason: "not from this page" });
  mock.timers.tick(60_000);
  assert.equal(socket.status.state, "closed");
  assert.equal(Wire.opened.length, 1);
  socket.retry();
  assert.equal(socket.status.state, "connecting");
});

test("the backoff grows to ten seconds, and chance takes up to half of it", () => {
  assert.deepEqual(
    [1, 2, 3, 7, 50].map((tries) => backoff(tries, () => 0)),
    [200, 400, 800, 10_000, 10_000],
  );
  assert.equal(
    backoff(3, () => 0.999_999),
    400,
  );
});

const person = (...refs) => ({ metas: refs.map((phx_ref) => ({ phx_ref })) });

test("presence: a diff joins and leaves connections, and a person with none is gone", () => {
  const state = { ada: person("1"), joe: person("2") };
  const next = syncDiff(state, {
    joins: { ada: person("3"), eva: person("4") },
    leaves: { ada: person("1"), joe: person("2") },
  });
  assert.deepEqual(next, { ada: person("3"), eva: person("4") });
  assert.deepEqual(state, { ada: person("1"), joe: person("2") });
  assert.deepEqual(syncDiff({ ada: person("1") }, { joins: { ada: person("1", "2") }, leaves: {} }), {
    ada: person("1", "2"),
  });
  assert.deepEqual(syncDiff({}, { joins: {}, leaves: { ada: person("1") } }), {});
});

test("presence: the difference of two states leads from one to the other", () => {
  const before = { ada: person("1", "2"), joe: person("3") };
  const after = { ada: person("2", "4"), eva: person("5") };
  const diff = syncState(before, after);
  assert.deepEqual(diff, {
    joins: { ada: person("4"), eva: person("5") },
    leaves: { ada: person("1"), joe: person("3") },
  });
  assert.deepEqual(syncDiff(before, diff), after);
});

test("presence: diffs that come before the state of a join are applied after it", async () => {
  const { channel } = await joined();
  const seen = [];
  const presence = new Presence(channel, (state, diff) =>
    seen.push([Object.keys(state), Object.keys(diff.joins), Object.keys(diff.leaves)]),
  );
  wire().hear(null, null, "room:x", "presence_diff", { joins: { eva: person("2") }, leaves: {} });
  assert.deepEqual(seen, []);
  wire().hear("1", null, "room:x", "presence_state", { ada: person("1") });
  wire().hear(null, null, "room:x", "presence_diff", { joins: {}, leaves: { ada: person("1") } });
  assert.deepEqual(seen, [
    [["ada", "eva"], ["ada", "eva"], []],
    [["eva"], [], ["ada"]],
  ]);
  assert.deepEqual(Object.keys(presence.state), ["eva"]);
});
