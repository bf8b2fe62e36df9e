/** One websocket for the whole panel: topics are subscribed while something on the page shows them. */

import { useEffect, useSyncExternalStore } from "react";
import { mergePatch } from "@/lib/merge";

export type Topic = "studies" | "queues" | "associations" | "alerts" | "system" | "moves";
export type Link = "connecting" | "open" | "lost" | "off";

interface Message {
  topic: Topic;
  n?: number;
  kind: "snapshot" | "change" | "refused";
  state?: unknown;
  changes?: unknown;
}

export interface TopicState {
  state: unknown;
  n: number;
  refused: boolean;
}

const SILENT: TopicState = { state: undefined, n: 0, refused: false };
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

export class Live {
  private socket: WebSocket | undefined;
  private readonly wanted = new Map<Topic, number>();
  private readonly topics = new Map<Topic, TopicState>();
  private readonly listeners = new Set<() => void>();
  private readonly reopened = new Set<() => void>();
  private link: Link = "off";
  private failures = 0;
  private opened = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly url: () => string) {}

  start = (): void => {
    if (this.socket || this.timer) return;
    this.connect();
  };

  stop = (): void => {
    clearTimeout(this.timer);
    this.timer = undefined;
    const socket = this.socket;
    this.socket = undefined;
    socket?.close();
    this.topics.clear();
    this.opened = false;
    this.become("off");
  };

  status = (): Link => this.link;

  topic = (topic: Topic): TopicState => this.topics.get(topic) ?? SILENT;

  listen = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Calls back whenever the connection is there again after it was lost: what is shown may be old. */
  onReopened = (listener: () => void): (() => void) => {
    this.reopened.add(listener);
    return () => this.reopened.delete(listener);
  };

  want = (topic: Topic): (() => void) => {
    const count = this.wanted.get(topic) ?? 0;
    this.wanted.set(topic, count + 1);
    if (count === 0) this.say({ subscribe: [topic] });
    return () => {
      const left = (this.wanted.get(topic) ?? 1) - 1;
      if (left > 0) {
        this.wanted.set(topic, left);
        return;
      }
      this.wanted.delete(topic);
      this.topics.delete(topic);
      this.say({ unsubscribe: [topic] });
    };
  };

  private connect(): void {
    this.timer = undefined;
    this.become("connecting");
    const socket = (this.socket = new WebSocket(this.url()));
    socket.onopen = () => {
      this.failures = 0;
      this.become("open");
      if (this.wanted.size) this.say({ subscribe: [...this.wanted.keys()] });
      if (this.opened) for (const listener of this.reopened) listener();
      this.opened = true;
    };
    socket.onmessage = (event) => {
      if (typeof event.data === "string") this.receive(event.data);
    };
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.socket = undefined;
      this.become("lost");
      const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures++);
      // All browsers of a department lose a restarting server at once: they come back at different times.
      this.timer = setTimeout(() => this.connect(), wait * (0.5 + Math.random() / 2));
    };
  }

  private receive(text: string): void {
    let message: Message;
    try {
      message = JSON.parse(text) as Message;
    } catch {
      return;
    }
    if (!this.wanted.has(message.topic)) return; // on its way when it was unsubscribed
    const before = this.topic(message.topic);
    const n = message.n ?? before.n;
    if (message.kind === "refused") this.topics.set(message.topic, { ...SILENT, refused: true });
    else if (message.kind === "snapshot") this.topics.set(message.topic, { state: message.state, n, refused: false });
    else if (message.n !== undefined && message.n !== before.n + 1) {
      this.say({ unsubscribe: [message.topic] });
      this.say({ subscribe: [message.topic] });
      return;
    } else this.topics.set(message.topic, { state: mergePatch(before.state, message.changes), n, refused: false });
    this.tell();
  }

  private say(words: Record<string, Topic[]>): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(words));
  }

  private become(link: Link): void {
    if (link === this.link) return;
    this.link = link;
    this.tell();
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}

export const live = new Live(() => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);

export function useLink(): Link {
  return useSyncExternalStore(live.listen, live.status);
}

/** The live state of a topic while the component is shown. */
export function useTopic(topic: Topic, wanted = true): TopicState {
  useEffect(() => (wanted ? live.want(topic) : undefined), [topic, wanted]);
  return useSyncExternalStore(live.listen, () => live.topic(topic));
}
