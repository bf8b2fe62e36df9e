/** A DICOM UID (PS3.5 section 9.1): at most 64 characters of numbers and dots. */
export function isUid(text: string): boolean {
  return text.length <= 64 && /^\d+(\.\d+)*$/.test(text);
}
