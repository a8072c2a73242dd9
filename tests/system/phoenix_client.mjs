/* Drives a gateway with the unmodified `phoenix` package: node phoenix_client.mjs URL SCENARIO. Exits 0 if all was as promised. */

import assert from "node:assert/strict";
import { Presence, Socket } from "phoenix";

const [url, scenario] = process.argv.slice(2);
const transport = globalThis.WebSocket;
const errors = [];

/** A connected socket. @param {object} [options] */
function open(options = {}) {
  const socket = new Socket(`${url.replace("http", "ws")}/socket`, { transport, timeout: 3000, ...options });
  socket.connect();
  return socket;
}

/** A push or join as a promise of its outcome. */
const outcome = (push) =>
  new Promise((resolve) => ["ok", "error", "timeout"].forEach((status) => push.receive(status, (response) => resolve([status, response]))));

/** The next event of that name. */
const next = (channel, event) =>
  new Promise((resolve) => {
    const ref = channel.on(event, (payload) => (channel.off(event, ref), resolve(payload)));
  });

const joined = async (socket, topic, payload = {}) => {
  const channel = socket.channel(topic, payload);
  channel.onError((error) => errors.push(error));
  assert.equal((await outcome(channel.join()))[0], "ok");
  return channel;
};

/** The next successful join of a joined channel; the package calls back for the join that was, too. */
const rejoined = (channel) =>
  new Promise((resolve) => {
    let before = 1;
    channel.joinPush.receive("ok", () => before-- > 0 || resolve());
  });

const people = (presence) => presence.list((key, { metas }) => [key, metas.length]).sort();

const scenarios = {
  async join_with_reply() {
    const channel = open().channel("room:a", {});
    assert.deepEqual(await outcome(channel.join()), ["ok", { topic: "room:a", members: 0 }]);
    assert.equal(channel.state, "joined");
  },

  async join_refused() {
    const channel = open().channel("room:a", { refuse: "full house" });
    assert.deepEqual(await outcome(channel.join()), ["error", { reason: "full house" }]);
  },

  async unmatched_topic() {
    assert.deepEqual(await outcome(open().channel("nowhere").join()), ["error", { reason: "unmatched topic" }]);
  },

  async push_ok_and_error() {
    const channel = await joined(open(), "room:a");
    assert.deepEqual(await outcome(channel.push("echo", { text: "grüß 🎭" })), ["ok", { text: "grüß 🎭" }]);
    assert.deepEqual(await outcome(channel.push("refuse", { reason: "not now" })), ["error", { reason: "not now" }]);
    assert.deepEqual(await outcome(channel.push("no such event", {})), ["error", { reason: "unknown event" }]);
  },

  async push_before_the_join_is_answered() {
    const channel = open().channel("room:a");
    channel.join();
    assert.deepEqual(await outcome(channel.push("echo", { early: true })), ["ok", { early: true }]);
  },

  async broadcast_to_two_clients() {
    const [one, two] = [await joined(open(), "room:a"), await joined(open(), "room:a")];
    const heard = [next(one, "heard"), next(two, "heard")];
    await outcome(one.push("shout", { text: "hello" }));
    assert.deepEqual(await Promise.all(heard), [{ text: "hello" }, { text: "hello" }]);
  },

  async presence_sync_join_leave() {
    const mine = open().channel("room:a", { key: "ada", device: "phone" });
    const presence = new Presence(mine);
    const news = [];
    presence.onJoin((key, current, fresh) => news.push(["join", key, current ? current.metas.length : 0, fresh.metas.length]));
    presence.onLeave((key, current, gone) => news.push(["leave", key, current.metas.length, gone.metas.length]));
    const synced = () => new Promise((resolve) => presence.onSync(resolve));
    let sync = synced();
    await outcome(mine.join());
    await sync;
    assert.deepEqual(people(presence), [["ada", 1]]);

    sync = synced();
    const socket = open();
    const other = await joined(socket, "room:a", { key: "bob", device: "tablet" });
    await sync;
    assert.deepEqual(people(presence), [["ada", 1], ["bob", 1]]);

    sync = synced();
    const second = open();
    await joined(second, "room:a", { key: "bob", device: "phone" });
    await sync;
    assert.deepEqual(people(presence), [["ada", 1], ["bob", 2]]);

    sync = synced();
    await outcome(other.push("update", { key: "bob", device: "laptop" }));
    await sync;
    assert.deepEqual(people(presence), [["ada", 1], ["bob", 2]]);

    sync = synced();
    second.disconnect();
    await sync;
    assert.deepEqual(people(presence), [["ada", 1], ["bob", 1]]);

    sync = synced();
    other.leave();
    await sync;
    assert.deepEqual(people(presence), [["ada", 1]]);
    // The last join and leave before these are the update: one diff, in which the new meta comes and the old one goes.
    assert.deepEqual(news, [
      ["join", "ada", 0, 1], ["join", "bob", 0, 1], ["join", "bob", 1, 1],
      ["join", "bob", 2, 1], ["leave", "bob", 2, 1], ["leave", "bob", 1, 1], ["leave", "bob", 0, 1],
    ]);
  },

  async leave() {
    const socket = open();
    const channel = await joined(socket, "room:a");
    const closed = new Promise((resolve) => channel.onClose(resolve));
    assert.equal((await outcome(channel.leave()))[0], "ok");
    await closed;
    assert.equal(channel.state, "closed");
    assert.deepEqual(socket.channels, []);
  },

  async duplicate_join() {
    const socket = open();
    const first = await joined(socket, "room:a");
    const second = await joined(socket, "room:a");
    assert.equal(first.state, "closed");
    assert.deepEqual(await outcome(second.push("echo", { n: 2 })), ["ok", { n: 2 }]);
  },

  async reconnect_and_rejoin_after_a_drop() {
    const socket = open();
    const channel = await joined(socket, "room:a");
    const again = new Promise((resolve) => socket.onOpen(resolve));
    const back = rejoined(channel);
    await fetch(`${url}/drop`, { method: "POST" });
    await again;
    await back;
    assert.deepEqual(await outcome(channel.push("echo", { n: 1 })), ["ok", { n: 1 }]);
    assert.ok(errors.length > 0);
  },

  async come_back_after_a_restart() {
    const socket = open();
    const channel = await joined(socket, "room:a");
    const closed = new Promise((resolve) => socket.onClose(resolve));
    const back = rejoined(channel);
    await fetch(`${url}/restart`, { method: "POST" });
    assert.equal((await closed).code, 1012);
    await back;
    assert.deepEqual(await outcome(channel.push("echo", { n: 1 })), ["ok", { n: 1 }]);
  },

  async rejoin_after_a_room_crash() {
    const [one, two] = [await joined(open(), "room:a"), await joined(open(), "room:a")];
    const bystander = await joined(open(), "room:b");
    const back = [rejoined(one), rejoined(two)];
    one.push("crash", {});
    await Promise.all(back);
    assert.deepEqual(await outcome(one.push("echo", { n: 1 })), ["ok", { n: 1 }]);
    assert.deepEqual(await outcome(two.push("echo", { n: 2 })), ["ok", { n: 2 }]);
    assert.equal(bystander.state, "joined");
    assert.equal(errors.length, 2);
  },

  async heartbeat() {
    const beats = [];
    const socket = open({ heartbeatIntervalMs: 50, logger: (kind, text) => kind === "receive" && /phoenix phx_reply/.test(text) && beats.push(text) });
    let closes = 0;
    socket.onClose(() => closes++);
    while (beats.length < 5) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(closes, 0);
    assert.equal(socket.connectionState(), "open");
  },
};

const watchdog = setTimeout(() => {
  console.error(`${scenario}: not done within 15 s`);
  process.exit(2);
}, 15_000);
await scenarios[scenario]();
clearTimeout(watchdog);
process.exit(0);
