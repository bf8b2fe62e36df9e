/** As much of a DICOM file (PS3.10) as it takes to name it in an upload: the file meta information. Pure. */

export interface FileMeta {
  sopClassUid: string;
  sopInstanceUid: string;
}

export const HEAD_BYTES = 2048;
export const DICOMDIR = "1.2.840.10008.1.3.10";
const META_START = 132;
const LONG = new Set(["OB", "OW", "OF", "SQ", "UT", "UN", "UC", "UR", "OD", "OL", "OV", "SV", "UV"]);

/** Reads the first bytes of a file; undefined if it is no DICOM file. Lengths are never trusted beyond the bytes. */
export function readMeta(head: Uint8Array): FileMeta | undefined {
  if (head.length < META_START + 8 || text(head, 128, 4) !== "DICM") return undefined;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const found = { sopClassUid: "", sopInstanceUid: "" };
  let at = META_START;
  while (at + 8 <= head.length && view.getUint16(at, true) === 0x0002) {
    const element = view.getUint16(at + 2, true);
    const long = LONG.has(text(head, at + 4, 2));
    if (long && at + 12 > head.length) break;
    const length = long ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true);
    const value = at + (long ? 12 : 8);
    if (value + length > head.length) break;
    const uid = () => text(head, value, length).replace(/[\0 ]+$/, "");
    if (element === 0x0002) found.sopClassUid = uid();
    if (element === 0x0003) found.sopInstanceUid = uid();
    at = value + length;
  }
  return found;
}

function text(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}
