/** What was entered one a line, without blank lines and repetitions. */
export function lines(text: string): string[] {
  return [...new Set(text.split("\n").map((line) => line.trim()).filter(Boolean))]; // prettier-ignore
}
