import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Live } from "@/api/live";

class Socket {
  static readonly OPEN = 1;
  static all: Socket[] = [];
  readyState = 0;
  said: unknown[] = [];
  onopen?: () => void;
  onclose?: () => void;
  onmessage?: (event: { data: string }) => void;

  constructor() {
    Socket.all.push(this);
  }
  send(text: string) {
    this.said.push(JSON.parse(text));
  }
  close() {
    this.onclose?.();
  }
  open() {
    this.readyState = Socket.OPEN;
    this.onopen?.();
  }
  tell(message: object) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
}

const last = () => Socket.all.at(-1) as Socket;

describe("the live connection", () => {
  let live: Live;
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("WebSocket", Socket);
    Socket.all = [];
    live = new Live(() => "ws://x");
    live.start();
  });
  afterEach(() => {
    live.stop();
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  it("subscribes once to what several parts show, and ends it with the last", () => {
    last().open();
    const [one, two] = [live.want("queues"), live.want("queues")];
    one();
    two();
    expect(last().said).toEqual([{ subscribe: ["queues"] }, { unsubscribe: ["queues"] }]);
  });

  it("applies changes to the snapshot and asks anew when one is missing", () => {
    last().open();
    live.want("queues");
    last().tell({ topic: "queues", n: 1, kind: "snapshot", state: { a: 1, b: 1 } });
    last().tell({ topic: "queues", n: 2, kind: "change", changes: { a: 2 } });
    expect(live.topic("queues").state).toEqual({ a: 2, b: 1 });
    last().tell({ topic: "queues", n: 4, kind: "change", changes: { a: 9 } });
    expect(live.topic("queues").state).toEqual({ a: 2, b: 1 });
    expect(last().said.slice(-2)).toEqual([{ unsubscribe: ["queues"] }, { subscribe: ["queues"] }]);
  });

  it("comes back by itself, subscribes again and says that what is shown may be old", async () => {
    const reopened = vi.fn();
    live.onReopened(reopened);
    live.want("studies");
    last().open();
    expect(reopened).not.toHaveBeenCalled();
    last().close();
    expect(live.status()).toBe("lost");
    await vi.advanceTimersByTimeAsync(1000);
    expect(Socket.all).toHaveLength(2);
    last().open();
    expect(live.status()).toBe("open");
    expect(last().said).toEqual([{ subscribe: ["studies"] }]);
    expect(reopened).toHaveBeenCalledOnce();
  });

  it("tries less and less often while the server is away", async () => {
    for (let failures = 0; failures < 12; failures++) {
      last().close();
      await vi.advanceTimersByTimeAsync(15_000);
    }
    const tried = Socket.all.length;
    last().close();
    await vi.advanceTimersByTimeAsync(7_000);
    expect(Socket.all).toHaveLength(tried);
  });

  it("does not come back after it was stopped, and ignores what is no message", async () => {
    last().open();
    last().onmessage?.({ data: "not json" });
    live.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(Socket.all).toHaveLength(1);
    expect(live.status()).toBe("off");
  });
});
