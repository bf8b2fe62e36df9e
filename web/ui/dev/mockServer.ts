import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { getResponse, type RequestHandler } from "msw";
import type { Connect, Plugin } from "vite";
import { WebSocketServer, type WebSocket } from "ws";
import { handlers } from "./handlers.ts";
import { liveState } from "./live.ts";

/** The policy that the server sends with the panel: what breaks under it breaks here first. */
const POLICY =
  "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/** Answers the API from recorded facts, for working on the panel without a server. Never part of what is built. */
export function mockServer(): Plugin {
  return {
    name: "mock-server",
    configureServer: (server) => {
      server.middlewares.use(answer);
      if (server.httpServer) serveLive(server.httpServer as Upgrading);
    },
    configurePreviewServer: (server) => {
      server.middlewares.use((_request, response, next) => {
        response.setHeader("Content-Security-Policy", POLICY);
        next();
      });
      server.middlewares.use(answer);
      serveLive(server.httpServer as Upgrading);
    },
  };
}

const answer: Connect.NextHandleFunction = (incoming, outgoing, next) => {
  if (!/^\/(api|dicom-web|ohif)\//.test(incoming.url ?? "")) {
    next();
    return;
  }
  void respond(incoming, outgoing, handlers);
};

async function respond(incoming: IncomingMessage, outgoing: ServerResponse, known: RequestHandler[]): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const bodiless = incoming.method === "GET" || incoming.method === "HEAD";
  const request = new Request(`http://${incoming.headers.host ?? "localhost"}${incoming.url ?? "/"}`, {
    method: incoming.method,
    headers: incoming.headers as Record<string, string>,
    body: bodiless ? undefined : Buffer.concat(chunks),
  });
  const response = (await getResponse(known, request)) ?? new Response("nothing here", { status: 404 });
  outgoing.statusCode = response.status;
  response.headers.forEach((value, name) => outgoing.setHeader(name, value));
  outgoing.end(Buffer.from(await response.arrayBuffer()));
}

interface Upgrading {
  on(event: "upgrade", listener: (request: IncomingMessage, socket: Duplex, head: Buffer) => void): unknown;
}

function serveLive(server: Upgrading): void {
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    if (request.url === "/api/v1/live") sockets.handleUpgrade(request, socket, head, follow);
  });
}

function follow(socket: WebSocket): void {
  const wanted = new Map<string, number>();
  const say = (topic: string, kind: "snapshot" | "change") => {
    const n = (wanted.get(topic) ?? 0) + 1;
    wanted.set(topic, n);
    const state = liveState(topic);
    socket.send(
      JSON.stringify(
        kind === "snapshot" ? { topic, n, kind, resync: false, state } : { topic, n, kind, changes: state },
      ),
    );
  };
  const timer = setInterval(() => {
    for (const topic of wanted.keys()) if (topic !== "studies") say(topic, "change");
  }, 1000);
  socket.on("close", () => clearInterval(timer));
  socket.on("message", (data) => {
    const words = JSON.parse((data as Buffer).toString()) as { subscribe?: string[]; unsubscribe?: string[] };
    for (const topic of words.subscribe ?? []) {
      wanted.set(topic, 0);
      say(topic, "snapshot");
    }
    for (const topic of words.unsubscribe ?? []) wanted.delete(topic);
  });
}
