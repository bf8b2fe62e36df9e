/** Paths of this server that come from outside, as in ?next=. Pure. */

const LONGEST = 2000;
/** What the server answers itself; the panel's router knows all other paths. */
const VIEWER = /^\/ohif(\/|$)/;
const NO_PAGES = /^\/(api|dicom-web|login|share)(\/|$)/;

/** A page of this server, or `otherwise`: what comes from outside never leads to another site, nor to what is no page. */
export function ourPath(text: string | undefined, otherwise: string, origin = location.origin): string {
  if (!text || text.length > LONGEST || !text.startsWith("/")) return otherwise;
  try {
    const url = new URL(text, origin);
    const ours = url.origin === new URL(origin).origin && !NO_PAGES.test(url.pathname);
    // "//" at the start of a path would be the name of a host to whoever reads it next.
    return ours && !url.pathname.startsWith("//") ? url.pathname + url.search + url.hash : otherwise;
  } catch {
    return otherwise;
  }
}

/** Whether a path is the viewer's, which is a page of its own. */
export function isViewer(path: string): boolean {
  return VIEWER.test(path);
}

/** The viewer sends those whose session has ended to /?next=…: the address of the login that leads back there. */
export function doorOf({ pathname, search, origin }: Pick<URL, "pathname" | "search" | "origin">): string | undefined {
  const next = pathname === "/" ? new URLSearchParams(search).get("next") : null;
  return next === null ? undefined : `/login?next=${encodeURIComponent(ourPath(next, "/", origin))}`;
}
