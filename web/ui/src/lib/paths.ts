/** A path of this server, or `otherwise`: what comes from outside never leads to another site. */
export function ourPath(text: string | undefined, otherwise: string, origin = location.origin): string {
  if (!text) return otherwise;
  try {
    const url = new URL(text, origin);
    return url.origin === new URL(origin).origin ? url.pathname + url.search + url.hash : otherwise;
  } catch {
    return otherwise;
  }
}
