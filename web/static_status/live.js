// The websocket: of each topic a snapshot, then numbered changes; reconnects by itself, and notices silence.

import { composed, merged } from "./model.js";

const TOPICS = ["system", "associations", "queues", "studies"];
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;
const SILENCE_MS = 8000;
const NOT_RECOGNISED = 4401;

export class Live {
  /**
   * onState(state):            the node has news
   * onLink(link, untilMs):     "connecting", "live" or "lost"; when lost, the time of the next attempt
   * onStranger():              nobody is logged in; `open` when somebody is
   */
  constructor(url, onState, onLink, onStranger) {
    Object.assign(this, { url, onState, onLink, onStranger });
    this.failures = 0;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  open() {
    clearTimeout(this.retry);
    this.retry = undefined;
    this.topics = {};
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.watch();
    socket.onmessage = (event) => this.socket === socket && this.hear(JSON.parse(event.data));
    socket.onopen = () => socket.send(JSON.stringify({ subscribe: TOPICS })); // a stranger is told at once
    socket.onclose = (event) => this.socket === socket && (event.code === NOT_RECOGNISED ? this.stop() : this.lose());
  }

  hear({ topic, kind, n, state, changes }) {
    this.watch();
    const before = this.topics[topic];
    if (kind === "snapshot") this.topics[topic] = { n, state };
    else if (kind === "refused") this.topics[topic] = { n: 0, state: null };
    else if (before && n === before.n + 1) this.topics[topic] = { n, state: merged(before.state, changes) };
    else return this.lose(); // a gap: only a fresh snapshot helps
    const node = composed(this.topics);
    if (!node) return;
    this.failures = 0;
    this.onLink("live", 0);
    this.onState(node);
  }

  stop() {
    clearTimeout(this.silence);
    this.socket = null;
    this.onStranger();
  }

  lose() {
    clearTimeout(this.silence);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures);
    const waitMs = longest * (0.5 + Math.random() / 2); // spread, so that all browsers do not come back at once
    this.failures += 1;
    this.onLink("lost", Date.now() + waitMs);
    this.retry = setTimeout(() => this.open(), waitMs);
  }

  /** Try now instead of after the wait. */
  hurry() {
    if (this.retry !== undefined) this.open();
  }

  watch() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lose(), SILENCE_MS);
  }
}
