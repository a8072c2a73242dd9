// A scripted WebSocket and a clock that stands until it is told to go on, for the tests of our browser client.

import { mock } from "node:test";

/** A WebSocket whose other end is the test. */
export class Wire {
  /** @type {Wire[]} */ static opened = [];
  sent = [];
  closed = false;

  constructor(address, protocols) {
    this.address = address;
    this.protocols = protocols;
    Wire.opened.push(this);
  }
  send(data) {
    this.sent.push(typeof data === "string" ? JSON.parse(data) : data);
  }
  close() {
    this.closed = true;
  }
  hear(...frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
  /** Answer the newest frame that was sent with this event. */
  answer(event, status, response = {}) {
    const [joinRef, ref, topic] = this.sent.findLast((frame) => frame[3] === event);
    this.hear(joinRef, ref, topic, "phx_reply", { status, response });
  }
}

export const wire = () => Wire.opened.at(-1);

export const clock = {
  reset() {
    Wire.opened = [];
    mock.timers.reset();
    mock.timers.enable({ apis: ["setTimeout", "Date"] });
  },
  /** @param {number} milliseconds */
  tick(milliseconds) {
    mock.timers.tick(milliseconds);
  },
};
