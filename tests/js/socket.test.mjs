// Whom our browser client is let in as, and how it goes when the server asks: tokens, refusals, reconnect windows.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Socket } from "../../gateway/web/understudy.js";
import { clock, Wire, wire } from "./wire.mjs";

const open = (options = {}) => {
  const socket = new Socket("ws://house/socket/websocket", { WebSocket: Wire, random: () => 0.5, ...options }).connect();
  wire()?.onopen();
  return socket;
};
const settled = () => new Promise((resolve) => setImmediate(resolve));
const told = (event, payload) => wire().hear(null, null, "phoenix", event, payload);

beforeEach(() => clock.reset());

test("a token travels among the sub-protocols, not in the address; without one none is offered", () => {
  open();
  assert.deepEqual(wire().protocols, []);
  open({ token: "1234~?" });
  assert.deepEqual(wire().protocols, ["phoenix", "base64url.bearer.phx.MTIzNH4_"]);
  assert.doesNotMatch(wire().address, /1234|MTIz/);
});

test("what makes tokens is asked for one at each connection", async () => {
  const made = [];
  const socket = open({ token: async () => (made.push("t"), `t${made.length}`) });
  assert.equal(Wire.opened.length, 0);
  await settled();
  assert.equal(wire().protocols[1], "base64url.bearer.phx.dDE");
  wire().onclose({ code: 4001, reason: "token_expired: come back with a new one" });
  assert.deepEqual([socket.status.state, socket.status.refusal], ["waiting", "token_expired"]);
  assert.equal(socket.status.reason, "come back with a new one");
  clock.tick(200);
  await settled();
  assert.equal(wire().protocols[1], "base64url.bearer.phx.dDI");
});

test("a token that cannot be made is a try that failed, and says why", async () => {
  const socket = open({ token: () => Promise.reject(new Error("nobody is logged in")) });
  await settled();
  assert.deepEqual([socket.status.state, socket.status.reason], ["waiting", "no token: nobody is logged in"]);
  socket.disconnect();
  await settled();
  assert.equal(socket.status.state, "closed");
});

test("one that is closed while its token is made opens nothing", async () => {
  const socket = open({ token: async () => "late" });
  socket.disconnect();
  await settled();
  assert.deepEqual([Wire.opened.length, socket.status.state], [0, "closed"]);
});

test("before a token ends the server asks for the next one, and gets it on the same connection", async () => {
  let count = 0;
  open({ token: () => `t${++count}` });
  await settled();
  wire().onopen();
  told("access_token", { within: 30_000 });
  await settled();
  assert.deepEqual(wire().sent.at(-1), [null, "1", "phoenix", "access_token", { token: "t2" }]);
  assert.equal(Wire.opened.length, 1);
});

test("a page may hand over a new token itself, and learns if it is not taken", async () => {
  const socket = open({ token: "old" });
  const good = socket.authorize("new");
  await settled();
  wire().answer("access_token", "ok", { expires_in: null, ended: [] });
  await good;
  const bad = socket.authorize("worse");
  await settled();
  wire().answer("access_token", "error", { reason: "token invalid", code: "token_invalid", retry: false });
  await assert.rejects(bad, { kind: "refused", code: "token_invalid", retry: false });
  wire().onclose({ code: 1006, reason: "" });
  clock.tick(200);
  assert.equal(wire().protocols[1], "base64url.bearer.phx.bmV3", "the last one that was taken");
});

test("asked to come back within a window, it goes at a moment of its own and joins with its cursor", () => {
  const socket = open();
  const channel = socket.channel("room:x").join();
  wire().answer("phx_join", "ok", { epoch: "e", offset: 4, recovered: false });
  const first = wire();
  told("reconnect", { within: 10_000 });
  clock.tick(4_999);
  assert.deepEqual([socket.status.state, channel.joined, first.closed], ["open", true, false]);
  clock.tick(1);
  assert.deepEqual([socket.status.state, first.closed], ["connecting", true]);
  assert.notEqual(socket.status.since, null);
  assert.notEqual(wire(), first);
  wire().onopen();
  assert.deepEqual(wire().sent[0][4], { resume: { epoch: "e", offset: 4 } });
});

test("one that is closed before its moment has come waits for that moment", () => {
  const socket = open();
  told("reconnect", { within: 10_000 });
  clock.tick(2_000);
  wire().onclose({ code: 1012, reason: "draining: this server is to be stopped; connect again" });
  assert.deepEqual([socket.status.state, socket.status.seconds], ["waiting", 3]);
  clock.tick(2_999);
  assert.equal(Wire.opened.length, 1);
  clock.tick(1);
  assert.equal(Wire.opened.length, 2);
});

test("a window of an earlier connection moves nobody", () => {
  const socket = open();
  told("reconnect", { within: 10_000 });
  wire().onclose({ code: 1006, reason: "" });
  clock.tick(5_000);
  wire().onopen();
  clock.tick(3_000);
  assert.deepEqual([socket.status.state, Wire.opened.length], ["open", 2]);
});
