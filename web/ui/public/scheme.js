// Before the first paint, so that a light page never flashes in a dark room.
try {
  const scheme = localStorage.getItem("pacs-color-scheme") ?? "dark";
  const dark = scheme === "dark" || (scheme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
} catch {
  // Storage may be forbidden: the page then starts dark.
}
