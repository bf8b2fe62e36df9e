/* Has the studies of this address recalled, shows how far that is, and loads the address again once their images are here: then it
   is the viewer that answers. */
const page = document.querySelector("main");
const bar = page.querySelector("progress");
const title = page.querySelector("h1");
const text = page.querySelector("h1 + p");
const status = page.querySelector("[role=status]");
const alert = page.querySelector("[role=alert]");
const again = page.querySelector("button");
const texts = JSON.parse(page.dataset.texts);
const language = document.documentElement.lang;
const EVERY_MS = 1000;
const PATIENCE_MS = 20000;
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const whole = (number) => number.toLocaleString(language);

/** What is known of a study's recall: {here, move}. Its recall is ordered if `order` says so and none is under way. */
async function look(study, order) {
  const path = `/api/v1/studies/${encodeURIComponent(study)}/`;
  const ask = async (name, init) => {
    const answer = await fetch(path + name, { ...init, signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401 || answer.status === 404) location.reload(); // the session has ended, or the study is gone
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return answer.json();
  };
  const known = await ask("storage");
  if (known.availability !== "OFFLINE") return { here: true };
  const last = known.moves.find((move) => move.to_store === "online" && move.from_store === "");
  if (last && (last.state === "running" || last.state === "waiting")) return { move: last };
  if (order) return { move: await ask("recall", { method: "POST" }) };
  return { move: last, failed: true };
}

function show(found) {
  const moves = found.map((one) => one.move).filter(Boolean);
  const failed = found.find((one) => one.failed);
  const done = moves.reduce((sum, move) => sum + move.done, 0);
  const all = moves.reduce((sum, move) => sum + move.instances, 0);
  const problem = (failed?.move ?? moves.find((move) => move.problem))?.problem ?? "";
  title.textContent = failed ? texts.failed : texts.title;
  bar.hidden = text.hidden = status.hidden = Boolean(failed);
  again.hidden = !failed;
  if (all && done <= all) Object.assign(bar, { max: all, value: done });
  else bar.removeAttribute("value");
  status.textContent = all ? fill(texts.progress, { done: whole(done), all: whole(all) }) : texts.queued;
  alert.textContent = failed ? problem : problem && fill(texts.retried, { problem });
}

async function wait(order) {
  const studies = page.dataset.studies.split(" ");
  for (;;) {
    try {
      const found = await Promise.all(studies.map((study) => look(study, order)));
      if (found.every((one) => one.here)) {
        location.reload();
        return;
      }
      show(found);
      if (found.some((one) => one.failed)) return;
      order = false;
    } catch (error) {
      alert.textContent = fill(texts.retried, { problem: error.message });
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

again.addEventListener("click", () => {
  again.hidden = true;
  alert.textContent = "";
  void wait(true);
});
void wait(true);
