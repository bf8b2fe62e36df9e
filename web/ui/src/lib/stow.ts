/** Storing by STOW-RS (PS3.18 section 10.5): how files are batched, packed and what the answer says of each. Pure. */

export interface Batchable {
  size: number;
}

export const BATCH_FILES = 100;
export const BATCH_BYTES = 64_000_000;

/** Batches of at most so many files and bytes; a larger file goes alone. */
export function batches<T extends Batchable>(
  files: readonly T[],
  maxFiles = BATCH_FILES,
  maxBytes = BATCH_BYTES,
): T[][] {
  const made: T[][] = [];
  let [current, bytes]: [T[], number] = [[], 0];
  for (const file of files) {
    if (current.length && (current.length >= maxFiles || bytes + file.size > maxBytes)) {
      made.push(current);
      [current, bytes] = [[], 0];
    }
    current.push(file);
    bytes += file.size;
  }
  if (current.length) made.push(current);
  return made;
}

/** A multipart/related body of files. The browser reads them from disk as it sends: nothing is held in memory. */
export function multipart(files: readonly Blob[], boundary: string): Blob {
  const parts: BlobPart[] = files.flatMap((file) => [
    `--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`,
    file,
    "\r\n",
  ]);
  return new Blob([...parts, `--${boundary}--\r\n`]);
}

export function contentType(boundary: string): string {
  return `multipart/related; type="application/dicom"; boundary=${boundary}`;
}

interface Attribute {
  Value?: unknown[];
}
type DataSet = Record<string, Attribute | undefined>;

export interface StowResult {
  /** SOP Instance UIDs that are stored, with a warning reason or 0. */
  stored: Map<string, number>;
  /** SOP Instance UIDs that are not, with the reason (PS3.18 table I.2-2). */
  failed: Map<string, number>;
}

const [REFERENCED, FAILED, FAILURE, WARNING, INSTANCE] = ["00081199", "00081198", "00081197", "00081196", "00081155"];

/** The Store Instances Response Module. Whatever is malformed says nothing about any file. */
export function readAnswer(answer: unknown): StowResult {
  const dataset = (Array.isArray(answer) ? answer[0] : answer) as DataSet | undefined;
  return { stored: references(dataset, REFERENCED, WARNING), failed: references(dataset, FAILED, FAILURE) };
}

function references(
  dataset: DataSet | undefined,
  sequence: string | undefined,
  reason: string | undefined,
): Map<string, number> {
  const found = new Map<string, number>();
  const items = (dataset?.[sequence ?? ""]?.Value ?? []) as (DataSet | null)[];
  for (const item of items) {
    const uid = item?.[INSTANCE ?? ""]?.Value?.[0];
    const why = item?.[reason ?? ""]?.Value?.[0];
    if (typeof uid === "string") found.set(uid, Number(why ?? 0));
  }
  return found;
}

export type FailureKind = "full" | "class" | "damaged" | "mismatch" | "conflict" | "refused" | "other";

/** What a failure reason means to the person at the screen. */
export function failureKind(reason: number): FailureKind {
  if (reason >= 0xa700 && reason <= 0xa7ff) return "full";
  if (reason >= 0xa900 && reason <= 0xa9ff) return "mismatch";
  if (reason >= 0xc000 && reason <= 0xcfff) return reason === 0xc122 ? "class" : "damaged";
  if (reason === 0x0122) return "class";
  if (reason === 0x0111) return "conflict";
  if (reason === 0x0124) return "refused";
  return "other";
}
