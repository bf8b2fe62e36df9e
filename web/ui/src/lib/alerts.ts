/** What the live topic `alerts` says. Pure. */

export interface LiveAlert {
  severity: "critical" | "warning";
  what: string;
  detail: string;
  since: string;
  worker: number;
}

export interface NamedAlert extends LiveAlert {
  name: string;
}

/** The worst first, then the latest; undefined as long as nothing was said. */
export function alertsOf(state: unknown): NamedAlert[] | undefined {
  const alerts = (state as { alerts?: Record<string, LiveAlert> } | undefined)?.alerts;
  if (!alerts) return undefined;
  const weight = (one: LiveAlert) => (one.severity === "critical" ? 0 : 1);
  return Object.entries(alerts)
    .map(([name, alert]) => ({ name, ...alert }))
    .sort((one, other) => weight(one) - weight(other) || other.since.localeCompare(one.since));
}

/** The key of an alert's sentence in the reader's language: its name without whom it is about. */
export function alertKey({ name, severity }: NamedAlert): string {
  const [kind = ""] = name.split(".");
  return kind === "low_space" ? `${kind}_${severity}` : kind;
}
