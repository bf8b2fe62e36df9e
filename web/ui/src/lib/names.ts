/** Person names (PS3.5 section 6.2): component groups by `=`, components by `^`. */

export interface PersonName {
  /** As it is shown first, in the reader's writing where the name has it. */
  main: string;
  /** The other groups, for a tooltip or a second line. */
  others: string[];
}

const [ALPHABETIC, IDEOGRAPHIC] = [0, 1];

/** One component group as text: "Family, Given Middle" in Latin and Cyrillic, as written together in ideographic. */
function group(text: string, ideographic: boolean): string {
  const [family = "", given = "", middle = "", prefix = "", suffix = ""] = text.split("^").map((part) => part.trim());
  if (ideographic) return [family, given, middle].filter(Boolean).join(" ");
  const first = [prefix, given, middle].filter(Boolean).join(" ");
  const name = [family, first].filter(Boolean).join(", ");
  return suffix ? `${name}, ${suffix}` : name;
}

export function personName(value: string, language = "en"): PersonName {
  const groups = value
    .split("=")
    .slice(0, 3)
    .map((text, index) => group(text, index !== ALPHABETIC));
  const preferred = language.startsWith("zh") && groups[IDEOGRAPHIC] ? IDEOGRAPHIC : ALPHABETIC;
  const order = [preferred, ALPHABETIC, IDEOGRAPHIC, 2].filter((index, at, all) => all.indexOf(index) === at);
  const shown = order.map((index) => groups[index] ?? "").filter(Boolean);
  return { main: shown[0] ?? "", others: shown.slice(1) };
}
