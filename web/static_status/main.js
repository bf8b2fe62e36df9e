// Joins the websocket to the page.

import { at, text } from "./dom.js";
import { clock } from "./format.js";
import { Live } from "./live.js";
import { askLogin } from "./login.js";
import { Rates } from "./model.js";
import { draw } from "./view.js";

const WORDS = { connecting: "Connecting…", live: "Live", lost: "Connection lost" };

const rates = new Rates();
let latest = null;
let drawing = false;
let link = "connecting";
let nextTry = 0;

function onState(state) {
  latest = state;
  rates.take(state);
  if (drawing) return;
  drawing = true; // at most one drawing per frame, none while the tab is hidden
  requestAnimationFrame(() => {
    drawing = false;
    draw(latest, rates);
  });
}

function onLink(now, untilMs) {
  if (now === "lost" && link !== "lost") rates.interrupt();
  link = now;
  nextTry = untilMs;
  document.body.dataset.link = now;
  text(at("badge"), WORDS[now]);
  noteLink();
}

// Beside the badge and hidden from screen readers, which would read out every second of the countdown.
function noteLink() {
  if (link !== "lost") return text(at("link-note"), "");
  const seconds = Math.max(0, Math.ceil((nextTry - Date.now()) / 1000));
  const since = latest ? `values of ${clock(latest.at)}, ` : "";
  text(at("link-note"), `${since}${seconds ? `reconnecting in ${seconds} s` : "reconnecting…"}`);
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(at(button.dataset.copy).textContent);
    text(button, "Copied");
  } catch {
    getSelection().selectAllChildren(at(button.dataset.copy)); // no clipboard on plain HTTP from afar
    text(button, "Press Ctrl+C");
  }
  setTimeout(() => text(button, "Copy"), 2000);
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", () => copy(button));
}
setInterval(noteLink, 500);
const url = new URL("/api/v1/live", location.href);
url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const live = new Live(url, onState, onLink, () => askLogin(() => live.open()));
live.open();
