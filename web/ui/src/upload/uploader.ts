/** Stores files by STOW-RS, a few batches at a time, and keeps account of each file. */

import { DICOMDIR, HEAD_BYTES, readMeta } from "@/lib/part10";
import { batches, contentType, failureKind, multipart, readAnswer, type FailureKind } from "@/lib/stow";

export type FileState = "waiting" | "sending" | "stored" | "failed" | "skipped";
export type Why =
  FailureKind | "not_dicom" | "unreadable" | "network" | "signed_out" | "forbidden" | "too_large" | "busy";

export interface Item {
  id: number;
  file: File;
  path: string;
  size: number;
  uid: string;
  state: FileState;
  why?: Why;
}

export interface Progress {
  state: "reading" | "sending" | "paused" | "done";
  files: number;
  stored: number;
  failed: number;
  skipped: number;
  bytes: number;
  sentBytes: number;
  bytesPerSecond: number;
  /** Files that failed, at most SHOWN. */
  failures: readonly Item[];
}

const AT_ONCE = 2;
const TRIES = 3;
const SHOWN = 200;
const TELL_EVERY_MS = 250;
const RATE_WINDOW_MS = 5_000;

type Outcome = { status: number; body: unknown };

export class Uploader {
  private readonly items: Item[] = [];
  private readonly listeners = new Set<() => void>();
  private readonly requests = new Set<XMLHttpRequest>();
  private readonly loaded = new Map<XMLHttpRequest, number>();
  private readonly samples: [number, number][] = [];
  private settledBytes = 0;
  private running = 0;
  private reading = 0;
  private paused = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private shown: Progress = this.account();

  /** onStored is called after every batch of which something was stored. */
  constructor(private readonly onStored: () => void) {}

  listen = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  progress = (): Progress => this.shown;

  async add(files: AsyncIterable<[string, File]> | Iterable<[string, File]>): Promise<void> {
    this.reading += 1;
    try {
      for await (const [path, file] of files) {
        const item: Item = { id: this.items.length, file, path, size: file.size, uid: "", state: "waiting" };
        this.items.push(item);
        await identify(item);
        this.tell();
      }
    } finally {
      this.reading -= 1;
      this.pump();
    }
  }

  pause = (): void => {
    this.paused = true;
    for (const request of this.requests) request.abort();
    this.tell();
  };

  resume = (): void => {
    this.paused = false;
    this.pump();
  };

  retryFailed = (): void => {
    for (const item of this.items) if (item.state === "failed") this.settle(item, "waiting");
    this.paused = false;
    this.pump();
  };

  stop = (): void => {
    this.paused = true;
    for (const request of this.requests) request.abort();
    clearTimeout(this.timer);
  };

  private settle(item: Item, state: FileState, why?: Why): void {
    item.state = state;
    item.why = why;
  }

  private pump(): void {
    while (!this.paused && this.reading === 0 && this.running < AT_ONCE) {
      const [next] = batches(this.items.filter((item) => item.state === "waiting"));
      if (!next) break;
      for (const item of next) this.settle(item, "sending");
      this.running += 1;
      void this.store(next).finally(() => {
        this.running -= 1;
        this.pump();
      });
    }
    this.tell();
  }

  private async store(batch: Item[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.post(batch);
      if (this.paused && outcome.status === 0) {
        for (const item of batch) this.settle(item, "waiting");
        return;
      }
      const busy = outcome.status === 0 || outcome.status === 503 || outcome.status === 429;
      if (busy && attempt < TRIES) {
        await new Promise((resolve) => setTimeout(resolve, 1000 * attempt));
        continue;
      }
      this.judge(batch, outcome);
      return;
    }
  }

  private judge(batch: Item[], { status, body }: Outcome): void {
    const answer = readAnswer(body);
    const whole = wholeFailure(status);
    for (const item of batch) {
      const reason = answer.failed.get(item.uid);
      if (answer.stored.has(item.uid)) this.settle(item, "stored");
      else if (reason !== undefined) this.settle(item, "failed", failureKind(reason));
      else this.settle(item, "failed", whole ?? "other");
    }
    this.settledBytes += batch.reduce((sum, item) => sum + (item.state === "stored" ? item.size : 0), 0);
    if (answer.stored.size) this.onStored();
  }

  private post(batch: Item[]): Promise<Outcome> {
    const boundary = `panel-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
    const request = new XMLHttpRequest(); // fetch does not tell how much it has sent
    this.requests.add(request);
    return new Promise((resolve) => {
      const end = (outcome: Outcome) => {
        this.requests.delete(request);
        this.loaded.delete(request);
        resolve(outcome);
      };
      request.open("POST", "/dicom-web/studies");
      request.setRequestHeader("Content-Type", contentType(boundary));
      request.setRequestHeader("Accept", "application/dicom+json");
      request.upload.onprogress = (event) => {
        this.loaded.set(request, event.loaded);
        this.tell();
      };
      request.onload = () => end({ status: request.status, body: parsed(request.responseText) });
      request.onerror = request.onabort = () => end({ status: 0, body: undefined });
      request.send(multipart(batch.map((item) => item.file), boundary)); // prettier-ignore
    });
  }

  private tell(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.shown = this.account();
      for (const listener of this.listeners) listener();
    }, TELL_EVERY_MS);
  }

  private account(): Progress {
    const count = (state: FileState) => this.items.filter((item) => item.state === state).length;
    const [waiting, sending] = [count("waiting"), count("sending")];
    const onTheirWay = [...this.loaded.values()].reduce((sum, bytes) => sum + bytes, 0);
    const sentBytes = this.settledBytes + onTheirWay;
    const now = performance.now();
    this.samples.push([now, sentBytes]);
    while (this.samples.length > 2 && now - (this.samples[0]?.[0] ?? now) > RATE_WINDOW_MS) this.samples.shift();
    const [then, before] = this.samples[0] ?? [now, sentBytes];
    return {
      state: this.reading ? "reading" : this.paused && waiting ? "paused" : waiting || sending ? "sending" : "done",
      files: this.items.length,
      stored: count("stored"),
      failed: count("failed"),
      skipped: count("skipped"),
      bytes: this.items.reduce((sum, item) => sum + (item.state === "skipped" ? 0 : item.size), 0),
      sentBytes,
      bytesPerSecond: now > then ? Math.max(0, ((sentBytes - before) * 1000) / (now - then)) : 0,
      failures: this.items.filter((item) => item.why !== undefined).slice(0, SHOWN),
    };
  }
}

async function identify(item: Item): Promise<void> {
  try {
    const meta = readMeta(new Uint8Array(await item.file.slice(0, HEAD_BYTES).arrayBuffer()));
    if (!meta || meta.sopClassUid === DICOMDIR) {
      item.state = "skipped";
      if (!meta) item.why = "not_dicom";
      return;
    }
    item.uid = meta.sopInstanceUid;
  } catch {
    item.state = "failed";
    item.why = "unreadable";
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Why nothing of a request was stored, when its answer names no files. */
function wholeFailure(status: number): Why | undefined {
  switch (status) {
    case 0:
      return "network";
    case 401:
      return "signed_out";
    case 403:
      return "forbidden";
    case 413:
      return "too_large";
    case 429:
    case 503:
      return "busy";
    case 507:
      return "full";
    default:
      return undefined;
  }
}
