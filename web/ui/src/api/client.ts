/** HTTP to our own server. The session cookie goes along by itself; nothing secret is kept in the page. */

import { mustBeRecalled } from "@/lib/storage";

export type Query = Record<string, string | number | readonly string[] | undefined | null>;

/** An error answer (RFC 9457). status 0: the server could not be reached. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly title = "",
  ) {
    super(detail || title || `HTTP ${status}`);
  }
}

type Listener = () => void;
const strangers = new Set<Listener>();

/** Calls the listener when the server says that nobody is logged in any more. */
export function onSignedOut(listener: Listener): () => void {
  strangers.add(listener);
  return () => strangers.delete(listener);
}

export function address(path: string, query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null || value === "") continue;
    if (Array.isArray(value)) for (const one of value) parameters.append(name, String(one));
    else parameters.append(name, String(value));
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

/** An answer as the problem it tells. */
export async function problemOf(answer: Response): Promise<Problem> {
  try {
    const told = (await answer.json()) as { title?: string; detail?: string };
    return new Problem(answer.status, told.detail ?? "", told.title ?? answer.statusText);
  } catch {
    return new Problem(answer.status, "", answer.statusText);
  }
}

export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) for (const listener of strangers) listener();
  throw await problemOf(answer);
}

async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await send(`/api/v1${path}`, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  });
  const text = await answer.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

export const api = {
  get: <T>(path: string, query: Query = {}, signal?: AbortSignal) =>
    call<T>("GET", address(path, query), undefined, signal),
  post: <T>(path: string, body: unknown = {}) => call<T>("POST", path, body),
  put: <T>(path: string, body: unknown) => call<T>("PUT", path, body),
  patch: <T>(path: string, body: unknown) => call<T>("PATCH", path, body),
  delete: <T>(path: string) => call<T>("DELETE", path),
};

/** Path of DICOMweb; UIDs are checked to be UIDs before they become a path. */
export function dicomweb(...segments: (string | number)[]): string {
  return `/dicom-web/${segments.map((segment) => encodeURIComponent(String(segment))).join("/")}`;
}

/** Where a study's images are seen: in the viewer, or where one waits until they are back from the archive. */
export function openUrl(study: { study_instance_uid: string; availability: string }, series?: string): string {
  const { study_instance_uid: uid, availability } = study;
  return mustBeRecalled(availability)
    ? address(`/recall/${encodeURIComponent(uid)}`, { series })
    : viewerUrl(uid, series);
}

export function viewerUrl(study: string, series?: string): string {
  return address("/ohif/viewer", { StudyInstanceUIDs: study, SeriesInstanceUIDs: series });
}
