// Joins twice, speaks, draws, is cut, and hears what it missed: exits 0 if all was as promised.

import { Presence, PushError, Socket, type ChannelStatus, type PresenceState } from "@understudy/client";

declare const process: { argv: string[]; exit(code: number): never };

function check(good: boolean, what: string): void {
  if (good) return;
  console.log(`not so: ${what}`);
  process.exit(1);
}

const address = `${process.argv[2].replace("http", "ws")}/socket/websocket`;
const speaker = new Socket(address).connect();
const socket = new Socket(address, { timeout: 5_000 }).connect();

/** Resolves when a channel is joined. */
const joined = (channel: ReturnType<Socket["channel"]>) =>
  new Promise<ChannelStatus>((resolve) => {
    const remove = channel.onState((status) => {
      if (status.state !== "joined") return;
      remove();
      resolve(status);
    });
  });

const heard: unknown[] = [];
const resyncs: unknown[] = [];
const room = socket.channel("room:a", () => ({ key: "ada" }));
room.on("heard", (payload) => heard.push(payload instanceof ArrayBuffer ? [...new Uint8Array(payload)] : payload));
room.onResync((snapshot) => resyncs.push(snapshot));
let people: PresenceState = {};
new Presence(room, (state) => (people = state));
await joined(room.join());
const other = speaker.channel("room:a");
await joined(other.join());

check((await room.push("echo", { n: 1 })).n === 1, "a push is answered");
await room.push("refuse", { reason: "not now" }).then(
  () => check(false, "a refusal rejects"),
  (error) => check(error instanceof PushError && error.kind === "refused" && error.message === "not now", "why"),
);
const drawn: ArrayBuffer = await room.push("echo", new Uint8Array([1, 2, 255]));
check([...new Uint8Array(drawn)].join() === "1,2,255", "bytes come back");
await other.push("shout", { n: 1 });
await other.push("shout", new Uint8Array([7, 8]));

const again = [joined(room), joined(other)];
console.log("joined"); // and now the test cuts both
await Promise.all(again);
await other.push("shout", [3]);
while (heard.length < 3) await new Promise((resolve) => setTimeout(resolve, 10));
check(JSON.stringify(heard) === '[{"n":1},[7,8],[3]]', `heard ${JSON.stringify(heard)}`);
check(resyncs.length === 1, "only the first join is a re-sync");
check("ada" in people, "presence");
process.exit(0);
