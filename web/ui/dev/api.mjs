/**
 * Writes src/api/schema.d.ts: the types of the server's answers, out of its own description.
 *
 * node dev/api.mjs [address or file of openapi.json] [output]
 */
import { readFile, writeFile } from "node:fs/promises";
import process from "node:process";
import { URL } from "node:url";
import openapiTS, { astToString } from "openapi-typescript";

const [
  from = `${process.env.PACS_URL ?? "http://127.0.0.1:8080"}/api/v1/openapi.json`,
  to = new URL("../src/api/schema.d.ts", import.meta.url),
] = process.argv.slice(2);
const text = /^https?:/.test(from) ? await (await globalThis.fetch(from)).text() : await readFile(from, "utf-8");
const { openapi, info, components } = JSON.parse(text);
/** Without prose: a better sentence in the server changes nothing here. A property of that name is no text. */
const bare = (name, value) => (name === "description" && typeof value === "string" ? undefined : value);
const schemas = JSON.parse(JSON.stringify(components.schemas, bare));
// What comes and goes: paths are text in the panel, and a route more changes nothing here.
const document = { openapi, info, paths: {}, components: { schemas } };
await writeFile(to, `// Made by "npm run api". Do not edit.\n${astToString(await openapiTS(document))}`);
