// The connection mark says what is true: one line for each state of a socket.

import assert from "node:assert/strict";
import { test } from "node:test";

import { describe } from "../../gateway/web/connection.js";

const now = new Date(2026, 10, 20, 10, 30).getTime();
const socket = (change) => describe({ state: "idle", since: null, silent: 0, seconds: 0, code: 0, reason: "", ...change }, now);

test("before the first connection it connects, and then is connected", () => {
  assert.deepEqual(socket({ state: "connecting" }), { state: "connecting", text: "Connecting" });
  assert.deepEqual(socket({ state: "open" }), { state: "connected", text: "Connected" });
});

test("one whose server owes an answer is not called connected", () => {
  assert.deepEqual(socket({ state: "open", silent: 7 }), { state: "silent", text: "No news for 7 s" });
});

test("a lost connection counts down to the next try", () => {
  const lost = { since: now - 2_000 };
  assert.equal(socket({ ...lost, state: "waiting", seconds: 3 }).text, "Reconnecting in 3 s");
  assert.equal(socket({ ...lost, state: "connecting" }).text, "Reconnecting");
  assert.equal(socket({ ...lost, state: "connecting" }).state, "reconnecting");
});

test("one that is lost for long is offline since then, and is still tried", () => {
  const status = socket({ state: "waiting", seconds: 8, since: now - 120_000 });
  assert.deepEqual(status, { state: "offline", text: "Offline since 10:28, next try in 8 s" });
});

test("one that the server closed for good says why", () => {
  const status = socket({ state: "closed", since: now, code: 1008, reason: "too many malformed frames" });
  assert.deepEqual(status, { state: "offline", text: "Offline since 10:30: too many malformed frames" });
});
