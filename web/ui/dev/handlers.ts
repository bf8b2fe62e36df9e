/** The API as the panel expects it, from invented facts. For development and unit tests only. */

import { http, HttpResponse } from "msw";
import type { Action, AuditEvent, Me, Node, Role, Setting, Share, Study, Tag, Token, User } from "../src/api/types";
import { detail, instances, studies } from "./data.ts";
import { nodeStatus } from "./live.ts";
import { storageHandlers } from "./storage.ts";

const ACTIONS: Action[] = [
  "study.search", "study.view", "study.download", "study.store", "study.delete", "study.share", "study.audit", "system.read", "nodes.read", "nodes.write",
  "people.read", "people.write", "audit.read", "settings.read", "settings.write", "storage.write",
]; // prettier-ignore
const page = <T>(items: T[]) => HttpResponse.json({ items, next: null, total: items.length, total_exact: true });
const problem = (status: number, detail: string) =>
  HttpResponse.json({ type: "about:blank", title: "", status, detail }, { status });
const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
const ahead = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();

let me: Me | null = null;
const searches = [
  { id: 1, name: "CT of this week", query: "modality=CT&study_date=7d" },
  { id: 2, name: "My referrals", query: "referring_physician_name=Weber" },
];
const nodes: Node[] = [
  { ae_title: "CT_SOMATOM", host: "10.20.4.17", port: 104, networks: ["10.20.4.0/24"], tls: false, rights: ["store", "commit"], destinations: null, transfer_syntaxes: [], certificate_name: null, scope: null, fixed: false },
  { ae_title: "WORKSTATION1", host: "ws1.radiology.example", port: 11112, networks: [], tls: true, rights: ["store", "find", "move", "get"], destinations: ["WORKSTATION1"], transfer_syntaxes: ["1.2.840.10008.1.2.4.90"], certificate_name: "ws1.radiology.example", scope: null, fixed: true },
]; // prettier-ignore
const everything = { everything: true, rules: [] };
const roles: Role[] = [
  { name: "administrator", description: "Runs the archive", actions: ACTIONS, scope: everything },
  { name: "radiologist", description: "Reads studies", actions: ["study.search", "study.view", "study.download", "study.share"], scope: everything },
  { name: "technologist", description: "Takes and sends studies", actions: ["study.search", "study.view", "study.store"], scope: everything },
  { name: "referring physician", description: "Sees whom they referred", actions: ["study.search", "study.view"], scope: { everything: false, rules: [{ modalities: [], sources: [], institutions: [], departments: [], referring_physicians: [], studies: [], own_department: false, own_referring: true }] } },
]; // prettier-ignore
const users: User[] = [
  { id: 1, username: "admin", display_name: "Administrator", roles: ["administrator"], enabled: true, has_password: true, issuer: null, language: "", created_at: ago(90_000), email: "", department: "", scope: null, last_login_at: ago(3) },
  { id: 2, username: "weber", display_name: "Dr. Anna Weber", roles: ["radiologist"], enabled: true, has_password: true, issuer: null, language: "", created_at: ago(90_000), email: "weber@hospital.example", department: "Radiology", scope: null, last_login_at: ago(300) },
  { id: 3, username: "sokolov", display_name: "Игорь Соколов", roles: ["referring physician"], enabled: false, has_password: true, issuer: null, language: "", created_at: ago(90_000), email: "", department: "Хирургия", scope: null, last_login_at: null },
]; // prettier-ignore
const tokens: Token[] = [{ id: 1, user_id: 1, username: "admin", name: "Nightly export", actions: ["study.search", "study.download"], created_at: ago(90_000), expires_at: ahead(4000), used_at: ago(400) }]; // prettier-ignore
const events: AuditEvent[] = Array.from({ length: 60 }, (_, at) => ({
  id: 9000 - at,
  at: ago(at * 7 + 1),
  recorded_at: ago(at * 7 + 1),
  via: "session",
  hash: "",
  event: ["login", "query", "view", "download", "store", "delete"][at % 6] ?? "",
  outcome: at % 11 === 5 ? "failure" : "success",
  who: ["admin", "weber", "CT_SOMATOM"][at % 3] ?? "",
  address: `10.20.7.${at}`,
  patient_id: at % 3 ? `P010${at}` : "",
  uids: [`1.2.826.0.1.3680043.8.498.${at}`],
  details: { route: "GET /api/v1/studies", keys: "patient_name" },
}));
const shares: Share[] = [
  { id: 1, study_instance_uid: studies[0]?.study_instance_uid ?? "", created_at: ago(600), created_by: "weber", expires_at: ahead(150), note: "For Dr. Chen", has_password: true, download: false, revoked_at: null, opened: 3 },
  { id: 2, study_instance_uid: studies[4]?.study_instance_uid ?? "", created_at: ago(30_000), created_by: "admin", expires_at: ago(400), note: "", has_password: false, download: true, revoked_at: null, opened: 1 },
]; // prettier-ignore
const settings: Setting[] = [
  { key: "dicom.aet", value: "PACS", default: "PACS", description: "AE title that peers call.", live: false, source: "default", kind: "text", fixed_by: null, changed_by: null, changed_at: null },
  { key: "dicom.max_associations", value: 200, default: 100, description: "Associations open at once, per worker.", live: true, source: "file", kind: "text", fixed_by: null, changed_by: null, changed_at: null },
  { key: "people.session_lifetime_s", value: 36000, default: 36000, description: "How long a login lasts, in seconds.", live: true, source: "default", kind: "text", fixed_by: null, changed_by: null, changed_at: null },
  { key: "web.hosts", value: ["pacs.example"], default: [], description: "Names that the server answers to.", live: false, source: "file", kind: "text", fixed_by: null, changed_by: null, changed_at: null },
  { key: "archive.keep_deleted_s", value: 86400, default: 604800, description: "How long a deletion can be undone, in seconds.", live: true, source: "database", kind: "text", fixed_by: null, changed_by: null, changed_at: null },
]; // prettier-ignore

function matches(study: Study, query: URLSearchParams): boolean {
  const has = (text: string, wanted: string | null) => !wanted || text.toLowerCase().includes(wanted.toLowerCase());
  const within = (date: string, range: string | null) => {
    const [from = "", to = ""] = range?.includes("-") ? range.split("-") : [range ?? "", range ?? ""];
    return (!from || date >= from) && (!to || date <= to);
  };
  const modalities = query.getAll("modality");
  return (
    has(study.patient_name, query.get("patient_name")) &&
    has(study.patient_id, query.get("patient_id")) &&
    has(study.study_description, query.get("study_description")) &&
    has(study.accession_number, query.get("accession_number")) &&
    has(study.source, query.get("source")) &&
    within(study.study_date, query.get("study_date")) &&
    (!modalities.length || study.modalities.some((one) => modalities.includes(one))) &&
    has(
      [study.patient_name, study.patient_id, study.accession_number, study.study_description].join(" "),
      query.get("q"),
    )
  );
}

const picture = (text: string, seed: number) =>
  new HttpResponse(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 128"><rect width="128" height="128" fill="#000"/><ellipse cx="64" cy="64" rx="${52 - (seed % 14)}" ry="${44 - (seed % 9)}" fill="#777"/><ellipse cx="44" cy="62" rx="${17 - (seed % 8)}" ry="26" fill="#111"/><ellipse cx="86" cy="62" rx="${17 - (seed % 8)}" ry="26" fill="#111"/><circle cx="64" cy="92" r="8" fill="#ddd"/><text x="4" y="12" font-size="9" fill="#8fd">${text}</text></svg>`,
    { headers: { "Content-Type": "image/svg+xml" } },
  );

export const handlers = [
  http.get("*/api/v1/login/options", () =>
    HttpResponse.json({ oidc: { name: "Hospital account", url: "/api/v1/login/oidc" } }),
  ),
  http.post("*/api/v1/login", async ({ request }) => {
    const { username, password } = (await request.json()) as { username: string; password: string };
    if (password === "wrong") return problem(401, "");
    me = {
      name: username,
      display_name: username === "admin" ? "Administrator" : username,
      roles: ["administrator"],
      actions: ACTIONS,
      language: "",
      via: "session",
    };
    return HttpResponse.json({ access_token: "a", refresh_token: "r", token_type: "Bearer", expires_in: 600, me });
  }),
  http.post("*/api/v1/logout", () => {
    me = null;
    return new HttpResponse(null, { status: 204 });
  }),
  http.get("*/api/v1/me", () => (me ? HttpResponse.json(me) : problem(401, "Log in first."))),
  http.patch("*/api/v1/me", () => HttpResponse.json(me)),
  http.get("*/api/v1/studies", ({ request }) => {
    const query = new URL(request.url).searchParams;
    const sort = query.get("sort") ?? "-received_at";
    const key = sort.replace(/^-/, "") as keyof Study;
    const way = sort.startsWith("-") ? -1 : 1;
    const found = studies
      .filter((study) => matches(study, query))
      .sort((a, b) => way * (String(a[key]) < String(b[key]) ? -1 : 1));
    const [at, limit] = [Number(query.get("cursor") ?? 0), Number(query.get("limit") ?? 50)];
    return HttpResponse.json({
      items: found.slice(at, at + limit),
      next: at + limit < found.length ? String(at + limit) : null,
      total: found.length,
      total_exact: true,
    });
  }),
  http.get("*/api/v1/studies/:study", ({ params }) => {
    const study = detail(String(params["study"]));
    return study ? HttpResponse.json(study) : problem(404, "There is no such study.");
  }),
  http.delete("*/api/v1/studies/*", () => HttpResponse.json({ deletion: 7, undo_until: ahead(24), instances: 12 })),
  http.get("*/api/v1/studies/:study/series/:series/instances", ({ params }) =>
    page(instances(String(params["series"]), 60)),
  ),
  http.get("*/api/v1/studies/:study/series/:series/instances/:instance/tags", () =>
    page<Tag>(
      [
        ["00080060", "CS", "Modality", "CT"],
        ["00100010", "PN", "PatientName", "Smith^Eleanor^^Dr"],
        ["00100020", "LO", "PatientID", "P0100234"],
        ["00081140", "SQ", "ReferencedImageSequence", ""],
        ["00081155", "UI", "ReferencedSOPInstanceUID", "1.2.3"],
      ].map(([tag = "", vr = "", keyword = "", value = ""], at) => ({
        path: tag,
        tag,
        vr,
        keyword,
        name: keyword.replaceAll(/([a-z])([A-Z])/g, "$1 $2"),
        value,
        length: value.length,
        bulk: false,
        depth: at === 4 ? 1 : 0,
      })),
    ),
  ),
  http.get("*/api/v1/studies/:study/audit", () => page(events.slice(0, 5))),
  http.post("*/api/v1/studies/:study/shares", () =>
    HttpResponse.json({ id: 3, url: "/share/q3Jv8m0Zr1kPpT5yXw7LcA", expires_at: ahead(168) }),
  ),
  http.get("*/api/v1/shares", () => page(shares)),
  http.delete("*/api/v1/shares/:id", () => new HttpResponse(null, { status: 204 })),
  http.get("*/api/v1/deletions", () =>
    page([
      {
        id: 7,
        level: "study",
        study_instance_uid: studies[3]?.study_instance_uid ?? "",
        instances: 512,
        deleted_by: "weber",
        deleted_at: ago(55),
        undo_until: ahead(160),
      },
    ]),
  ),
  http.post("*/api/v1/deletions/:id/undo", () => HttpResponse.json({})),
  http.post("*/api/v1/share/:secret/open", async ({ request }) => {
    const { password } = (await request.json()) as { password?: string };
    return password
      ? HttpResponse.json({ viewer_url: "/ohif/viewer?StudyInstanceUIDs=1.2.3" })
      : problem(401, "This link needs its password.");
  }),
  http.get("*/api/v1/searches", () => page(searches)),
  http.post("*/api/v1/searches", async ({ request }) => {
    const one = { id: searches.length + 1, ...((await request.json()) as { name: string; query: string }) };
    searches.push(one);
    return HttpResponse.json(one, { status: 201 });
  }),
  http.get("*/api/v1/nodes", () => page(nodes)),
  http.post("*/api/v1/nodes/:aet/echo", ({ params }) =>
    HttpResponse.json(
      params["aet"] === "CT_SOMATOM"
        ? { ok: true, ms: 12.4, why: "" }
        : { ok: false, ms: null, why: "Connection refused" },
    ),
  ),
  http.get("*/api/v1/status", () => HttpResponse.json(nodeStatus())),
  http.get("*/api/v1/system/storage", () => HttpResponse.json({ totals: { instances: 9_800_000 } })),
  ...storageHandlers,
  http.get("*/api/v1/users", () => page(users)),
  http.get("*/api/v1/roles", () => page(roles)),
  http.get("*/api/v1/permissions", () => HttpResponse.json(ACTIONS.map((action) => ({ action, description: action })))),
  http.get("*/api/v1/tokens", () => page(tokens)),
  http.post("*/api/v1/tokens", () => HttpResponse.json({ ...tokens[0], token: "pat_3kJ0zQ8mVr1nT6yXw7LcAq" })),
  http.get("*/api/v1/audit", () => page(events)),
  http.get("*/api/v1/audit/verify", () => HttpResponse.json({ ok: true, events: 9000, first_bad: null, why: "" })),
  http.get("*/api/v1/settings", () => HttpResponse.json(settings)),
  http.put("*/api/v1/settings/:key", () => new HttpResponse(null, { status: 204 })),
  http.get("*/dicom-web/studies/:study/series/:series/thumbnail", ({ params }) =>
    picture(String(params["series"]).slice(-2), 0),
  ),
  http.get("*/dicom-web/studies/:study/series/:series/instances/:instance/frames/:frame/rendered", ({ params }) => {
    const number = Number(String(params["instance"]).split(".").at(-1));
    return picture(`#${number}`, number);
  }),
  http.post("*/dicom-web/studies", () => HttpResponse.json({ "00081199": { vr: "SQ", Value: [] } })),
];
