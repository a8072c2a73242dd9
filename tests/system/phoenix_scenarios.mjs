/*
 * What an unmodified `phoenix` package does with a gateway. Runs in Node (phoenix_client.mjs) and in a browser's page alike:
 * `run(phoenix, url, transport, scenario)` resolves if all was as promised, and rejects with what was not.
 */

/** A value with its keys in order, and bytes as numbers. */
const canonical = (value) => {
  if (value instanceof ArrayBuffer) return { bytes: [...new Uint8Array(value)] };
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, canonical(value[key])]));
};

const same = (got, wanted, what = "") => {
  const [one, other] = [canonical(got), canonical(wanted)].map((value) => JSON.stringify(value));
  if (one !== other) throw new Error(`${what} expected ${other}, got ${one}`);
};

const bytes = (...numbers) => new Uint8Array(numbers).buffer;

/** An event's payload without what a resuming client reads in it. */
const plain = ({ _o, ...payload }) => payload;

/** A push or join as a promise of its outcome. */
const outcome = (push) =>
  new Promise((resolve) => ["ok", "error", "timeout"].forEach((status) => push.receive(status, (response) => resolve([status, response]))));

/** The next event of that name. */
const next = (channel, event) =>
  new Promise((resolve) => {
    const ref = channel.on(event, (payload) => (channel.off(event, ref), resolve(payload)));
  });

/** The next successful join of a joined channel; the package calls back for the join that was, too. */
const rejoined = (channel) =>
  new Promise((resolve) => {
    let before = 1;
    channel.joinPush.receive("ok", () => before-- > 0 || resolve());
  });

const closed = (channel) => new Promise((resolve) => channel.onClose(resolve));

const people = (presence) => presence.list((key, { metas }) => [key, metas.length]).sort();

const scenarios = ({ Socket, Presence, LongPoll }, url, transport) => {
  const errors = [];
  const post = (path) => fetch(`${url}${path}`, { method: "POST" });

  /** A connected socket. */
  const open = (options = {}) => {
    const by = transport === "longpoll" ? LongPoll : globalThis.WebSocket;
    const socket = new Socket(`${url.replace("http", "ws")}/socket`, { transport: by, timeout: 5000, rejoinAfterMs: () => 20, ...options });
    socket.connect();
    return socket;
  };

  const joined = async (socket, topic, payload = {}) => {
    const channel = socket.channel(topic, payload);
    channel.onError((error) => errors.push(error));
    same((await outcome(channel.join()))[0], "ok", `the join of ${topic}`);
    return channel;
  };

  const echoes = async (channel, payload) => same(await outcome(channel.push("echo", payload)), ["ok", payload], "the echo");

  return {
    async join_with_reply() {
      const channel = open().channel("room:a", {});
      const [status, { topic, members, recovered }] = await outcome(channel.join());
      same([status, topic, members, recovered], ["ok", "room:a", 0, false]);
      same(channel.state, "joined");
    },

    async join_refused() {
      const channel = open().channel("room:a", { refuse: "full house" });
      const [status, { reason }] = await outcome(channel.join());
      same([status, reason], ["error", "full house"]);
    },

    async join_refused_first_and_granted_later() {
      let tries = 0;
      const channel = open().channel("room:a", () => (tries++ < 2 ? { refuse: "not yet" } : {}));
      await new Promise((resolve) => channel.join().receive("ok", resolve));
      same(tries, 3);
      await echoes(channel, { n: 1 });
    },

    async unmatched_topic() {
      const [status, { reason }] = await outcome(open().channel("nowhere").join());
      same([status, reason], ["error", "unmatched topic"]);
    },

    async a_join_that_crashes() {
      const [status, { reason }] = await outcome(open().channel("room:a", { crash: 1 }).join());
      same([status, reason], ["error", "join crashed"]);
    },

    async push_ok_and_error() {
      const channel = await joined(open(), "room:a");
      await echoes(channel, { text: "grüß 🎭", deep: [1, null, { x: [] }] });
      const [status, { reason }] = await outcome(channel.push("refuse", { reason: "not now" }));
      same([status, reason], ["error", "not now"]);
      same((await outcome(channel.push("no such event", {})))[1].reason, "unknown event");
    },

    async push_before_the_join_is_answered() {
      const channel = open().channel("room:a");
      channel.join();
      await echoes(channel, { early: true });
    },

    async a_hundred_pushes_in_order() {
      const channel = await joined(open(), "room:a");
      const heard = [];
      channel.on("heard", ({ n }) => heard.push(n));
      await Promise.all([...Array(100).keys()].map((n) => outcome(channel.push("shout", { n }))));
      same(heard, [...Array(100).keys()]);
    },

    async binary_push_and_reply() {
      const channel = await joined(open(), "room:a");
      const [status, response] = await outcome(channel.push("echo", bytes(0, 1, 254, 255)));
      same([status, response], ["ok", transport === "longpoll" ? { _b: "AAH+/w==" } : bytes(0, 1, 254, 255)]);
    },

    async binary_broadcast() {
      const [one, two] = [await joined(open(), "room:a"), await joined(open(), "room:a")];
      const heard = [next(one, "heard"), next(two, "heard")];
      await outcome(one.push("shout", bytes(7, 0, 255)));
      const said = (await Promise.all(heard)).map((payload) => (payload instanceof ArrayBuffer ? payload : plain(payload)));
      const wanted = transport === "longpoll" ? { _b: "BwD/" } : bytes(7, 0, 255);
      same(said, [wanted, wanted]);
    },

    async broadcast_to_two_clients() {
      const [one, two] = [await joined(open(), "room:a"), await joined(open(), "room:a")];
      const heard = [next(one, "heard"), next(two, "heard")];
      await outcome(one.push("shout", { text: "hello" }));
      same((await Promise.all(heard)).map(plain), [{ text: "hello" }, { text: "hello" }]);
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
      same(people(presence), [["ada", 1]]);

      sync = synced();
      const socket = open();
      const other = await joined(socket, "room:a", { key: "bob", device: "tablet" });
      await sync;
      same(people(presence), [["ada", 1], ["bob", 1]]);

      sync = synced();
      const second = open();
      await joined(second, "room:a", { key: "bob", device: "phone" });
      await sync;
      same(people(presence), [["ada", 1], ["bob", 2]]);

      sync = synced();
      await outcome(other.push("update", { key: "bob", device: "laptop" }));
      await sync;
      same(people(presence), [["ada", 1], ["bob", 2]]);

      sync = synced();
      second.disconnect();
      await sync;
      same(people(presence), [["ada", 1], ["bob", 1]]);

      sync = synced();
      other.leave();
      await sync;
      same(people(presence), [["ada", 1]]);
      // The last join and leave before these are the update: one diff, in which the new meta comes and the old one goes.
      same(news, [
        ["join", "ada", 0, 1], ["join", "bob", 0, 1], ["join", "bob", 1, 1],
        ["join", "bob", 2, 1], ["leave", "bob", 2, 1], ["leave", "bob", 1, 1], ["leave", "bob", 0, 1],
      ]);
    },

    async presence_after_a_rejoin() {
      const channel = open().channel("room:a", { key: "ada" });
      const presence = new Presence(channel);
      await outcome(channel.join());
      await joined(open(), "room:a", { key: "bob" });
      const back = rejoined(channel);
      channel.push("crash", {});
      await back;
      while (JSON.stringify(people(presence)) !== '[["ada",1],["bob",1]]') await new Promise((resolve) => presence.onSync(resolve));
    },

    async leave() {
      const socket = open();
      const channel = await joined(socket, "room:a");
      const over = closed(channel);
      same((await outcome(channel.leave()))[0], "ok");
      await over;
      same([channel.state, socket.channels.length], ["closed", 0]);
      await echoes(await joined(socket, "room:a"), { again: true });
    },

    async leave_while_joining() {
      const socket = open();
      const channel = socket.channel("room:a");
      channel.join();
      same((await outcome(channel.leave()))[0], "ok");
      same(channel.state, "closed");
      await echoes(await joined(socket, "room:a"), { n: 1 });
    },

    async duplicate_join() {
      const socket = open();
      const first = await joined(socket, "room:a");
      const second = await joined(socket, "room:a");
      same(first.state, "closed");
      await echoes(second, { n: 2 });
    },

    async many_topics_on_one_socket() {
      const socket = open();
      const channels = await Promise.all([...Array(100).keys()].map((n) => joined(socket, `room:${n}`)));
      await Promise.all(channels.map((channel, n) => echoes(channel, { n })));
      const [status, { reason }] = await outcome(socket.channel("room:more", {}).join());
      same([status, reason], ["error", "too many channels joined"]);
    },

    async a_room_that_ends_is_not_joined_again() {
      const channel = await joined(open(), "room:a");
      const over = closed(channel);
      channel.push("finish", {});
      await over;
      same([channel.state, errors.length], ["closed", 0]);
    },

    async rejoin_after_a_room_crash() {
      const [one, two] = [await joined(open(), "room:a"), await joined(open(), "room:a")];
      const bystander = await joined(open(), "room:b");
      const back = [rejoined(one), rejoined(two)];
      one.push("crash", {});
      await Promise.all(back);
      await echoes(one, { n: 1 });
      await echoes(two, { n: 2 });
      same([bystander.state, errors.length], ["joined", 2]);
    },

    async reconnect_and_rejoin_after_a_drop() {
      const socket = open();
      const channel = await joined(socket, "room:a");
      const again = new Promise((resolve) => socket.onOpen(resolve));
      const back = rejoined(channel);
      await post("/drop");
      await again;
      await back;
      await echoes(channel, { n: 1 });
      same(errors.length > 0, true, "the channel hears of it:");
    },

    async come_back_after_a_restart() {
      const socket = open();
      const channel = await joined(socket, "room:a");
      const gone = new Promise((resolve) => socket.onClose(resolve));
      const back = rejoined(channel);
      await post("/restart");
      same((await gone).code, transport === "longpoll" ? 3410 : 1012);
      await back;
      await echoes(channel, { n: 1 });
    },

    async disconnect_and_connect_again() {
      const socket = open();
      const channel = await joined(socket, "room:a");
      const back = rejoined(channel);
      await new Promise((resolve) => socket.disconnect(resolve));
      socket.connect();
      await back;
      await echoes(channel, { n: 1 });
    },

    async heartbeat() {
      const beats = [];
      const logger = (kind, text) => kind === "receive" && /phoenix phx_reply/.test(text) && beats.push(text);
      const socket = open({ heartbeatIntervalMs: 50, logger });
      let closes = 0;
      socket.onClose(() => closes++);
      while (beats.length < 5) await new Promise((resolve) => setTimeout(resolve, 10));
      same([closes, socket.connectionState()], [0, "open"]);
    },

    async fall_back_to_long_polling() {
      const sessionStorage = { getItem: () => null, setItem: () => {}, removeItem: () => {} };
      const socket = open({ transport: globalThis.WebSocket, longPollFallbackMs: 10_000, sessionStorage });
      const channel = await joined(socket, "room:a");
      same(socket.transport === LongPoll, true, "it polls:");
      await echoes(channel, { n: 1 });
    },
  };
};

/** @param {object} phoenix the package @param {string} url of the gateway @param {"websocket"|"longpoll"} transport */
export async function run(phoenix, url, transport, scenario) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`${scenario}: not done within 20 s`)), 20_000));
  await Promise.race([scenarios(phoenix, url, transport)[scenario](), late]);
}
