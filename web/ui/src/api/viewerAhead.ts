/** The viewer's scripts, fetched while nothing else is to do, so that its first image comes sooner. */

const PAGE = "/ohif/";
const QUIET_MS = 1_500;
/** Hashed names: what was fetched once is not asked for again. */
const PARTS = "script[src], link[rel=preload][as=script], link[rel=stylesheet]";

let begun = false;

export function fetchViewerAhead(): void {
  const thrifty = (navigator as { connection?: { saveData?: boolean } }).connection?.saveData;
  if (begun || thrifty) return;
  begun = true;
  setTimeout(() => {
    if ("requestIdleCallback" in window) requestIdleCallback(() => void begin());
    else void begin();
  }, QUIET_MS);
}

async function begin(): Promise<void> {
  try {
    const answer = await fetch(PAGE, { credentials: "same-origin", priority: "low" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of page.querySelectorAll(PARTS)) {
      const url = part.getAttribute("src") ?? part.getAttribute("href");
      if (!url?.startsWith(PAGE)) continue;
      const link = document.createElement("link");
      link.rel = "prefetch";
      link.as = part.matches("[rel=stylesheet]") ? "style" : "script";
      link.href = url;
      document.head.append(link);
    }
  } catch {
    // It is only ahead of time: the viewer loads them itself.
  }
}
