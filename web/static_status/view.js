// Draws the node's state into the page.

import { at, cells, keyed, look, make, text } from "./dom.js";
import * as format from "./format.js";
import { alerts, kindOf, totals, workersOf } from "./model.js";

const LITTLE_SPACE_BYTES = 20e9;

export function draw(state, rates) {
  const sums = totals(state);
  drawHeader(state, sums);
  drawAlerts(state);
  drawTiles(sums, rates);
  drawAssociations(state, sums);
  drawStudies(state);
  keyed(at("workers"), workersOf(state), (worker) => worker.slot, newWorker, drawWorker);
}

function drawHeader(state, sums) {
  text(at("ae-title"), state.ae_title);
  const title = `${state.ae_title} status`;
  if (document.title !== title) document.title = title;
  text(at("dicom"), `DICOM ${state.dicom}`);
  text(at("uptime"), `up ${format.duration(sums.uptime)}`);
  text(at("workers-up"), `${sums.accepting} of ${sums.workers} workers accept images`);
}

function drawAlerts(state) {
  keyed(
    at("alerts"),
    alerts(state),
    (alert) => alert.what,
    (alert) => {
      const item = make("li", alert.bad ? "bad" : "");
      item.append(make("strong", "", alert.what), make("span"));
      return item;
    },
    (item, alert) => text(item.lastChild, alert.detail),
  );
}

function drawTiles(sums, rates) {
  const now = rates.now();
  text(at("instances-rate"), now ? format.rate(now.instances) : "–");
  text(at("bytes-rate"), now ? format.rate(now.bytes / 1e6) : "–");
  drawSpark(rates.history());
  tile("associations", format.count(sums.associations.length), callers(sums.associations));
  tile("stored", format.count(sums.stored), `${format.bytes(sums.storedBytes)} since the workers started`);
  tile("backlog", format.count(sums.backlog), "instances on disk, not yet in the index");
  tile("free", format.bytes(sums.freeBytes), "on the object store", sums.freeBytes < LITTLE_SPACE_BYTES ? "warn" : "");
  const restarts = sums.restarts ? `${format.count(sums.restarting)} actors, see the trees below` : "no actor has crashed";
  tile("restarts", format.count(sums.restarts), restarts, sums.restarts ? "warn" : "");
  const conflicts = `same UID, other content; ${format.count(sums.duplicates)} exact duplicates dropped`;
  tile("conflicts", format.count(sums.conflicts), conflicts, sums.conflicts ? "warn" : "");
}

function tile(id, value, note, kind = "") {
  text(at(id), value);
  text(at(`${id}-note`), note);
  look(at(id).parentElement, `tile ${kind}`.trim());
}

function callers(associations) {
  const names = new Set(associations.map((association) => association.calling_ae));
  return names.size ? `from ${names.size} calling AE${names.size > 1 ? "s" : ""}` : "nobody is connected";
}

function drawSpark(points) {
  const svg = at("spark");
  svg.setAttribute("viewBox", "0 0 1000 100");
  const highest = Math.max(0, ...points.map((point) => point.y));
  const peak = highest || 1;
  const path = points.map(({ x, y }) => `${(x * 1000).toFixed(1)},${(98 - (y / peak) * 94).toFixed(1)}`).join("L");
  const drawn = highest > 0;
  svg.querySelector(".line").setAttribute("d", drawn ? `M${path}` : "");
  const first = drawn ? (points[0].x * 1000).toFixed(1) : 0;
  svg.querySelector(".area").setAttribute("d", drawn ? `M${first},100L${path}L1000,100Z` : "");
  const quiet = points.length > 1 ? "no image since this page was opened" : "collecting…";
  text(at("spark-peak"), highest ? `peak ${format.rate(highest)} instances/s` : quiet);
}

function drawAssociations(state, { associations, stored }) {
  at("associations-table").hidden = !associations.length;
  at("associations-empty").hidden = associations.length > 0;
  text(at("invitation"), stored || state.last_studies.length ? "To send images:" : "Send a first image:");
  const address = state.dicom.replace(/^0\.0\.0\.0(?=:)/, location.hostname);
  const [, host, port] = /^(.*):(\d+)$/.exec(address) ?? [address, address, "104"];
  text(at("command-store"), `pacs-actors store ${address} --called ${state.ae_title} FILES…`);
  text(at("command-dcmtk"), `storescu -aec ${state.ae_title} +sd +r ${host.replace(/[[\]]/g, "")} ${port} FOLDER`);
  const newestFirst = [...associations].sort((a, b) => a.since_s - b.since_s);
  keyed(
    at("associations-table").querySelector("tbody"),
    newestFirst,
    (one) => `${one.calling_ae} ${one.address} ${one.called_ae}`,
    () => make("tr"),
    (row, one) =>
      cells(row, [
        [one.calling_ae, "strong"],
        one.called_ae,
        [one.address, "mono"],
        [one.doing, "doing"],
        [format.duration(one.since_s), "number"],
        [format.count(one.requests), "number"],
        [format.count(one.stored), "number"],
        [format.bytes(one.received_bytes), "number"],
        [format.bytes(one.sent_bytes), "number"],
      ]),
  );
}

function drawStudies(state) {
  const studies = state.last_studies;
  at("studies-table").hidden = !studies.length;
  at("studies-empty").hidden = studies.length > 0 || state.studies_note !== "";
  text(at("studies-note"), state.studies_note);
  keyed(
    at("studies-table").querySelector("tbody"),
    studies,
    (study) => study.study_instance_uid,
    () => make("tr"),
    (row, study) =>
      cells(row, [
        [format.ago(study.received_at, state.at), "", format.absolute(study.received_at)],
        format.date(study.study_date) || "–",
        [study.modalities.replaceAll("\\", ", "), "strong"],
        [format.count(study.series), "number"],
        [format.count(study.instances), "number"],
        [study.source, "cut", study.source],
        [study.study_instance_uid, "mono uid", study.study_instance_uid],
      ]),
  );
}

function newWorker() {
  return at("worker").content.firstElementChild.cloneNode(true);
}

function drawWorker(card, worker) {
  text(card.querySelector("h3"), `Worker ${worker.slot}`);
  const state = card.querySelector('[data-of="worker"]');
  text(state, worker.state);
  look(state, `state ${kindOf(worker.state)}`);
  const facts = [
    `pid ${worker.pid}`,
    `up ${format.duration(worker.uptime_s)}`,
    `${format.bytes(worker.memory_bytes)} memory`,
    `loop lag ${worker.loop_lag_ms} ms`,
  ];
  text(card.querySelector('[data-fact="process"]'), facts.join(" · "));
  const why = card.querySelector(".why");
  why.hidden = !worker.why_not;
  text(why, worker.why_not);
  keyed(card.querySelector(".tree tbody"), worker.actors, (actor) => actor.name, newActor, drawActor);
  keyed(card.querySelector(".mail tbody"), worker.mailboxes, (box) => box.name, newMailbox, drawMailbox);
}

function newActor() {
  const row = make("tr");
  const state = make("td");
  state.append(make("span"));
  row.append(make("td"), state, make("td"), make("td"));
  return row;
}

function drawActor(row, actor) {
  const [name, state, restarts, crash] = row.children;
  text(name, actor.name);
  look(name, `indent-${Math.min(actor.depth, 4)}`);
  text(state.firstChild, actor.state);
  look(state.firstChild, `state ${kindOf(actor.state)}`);
  text(restarts, actor.restarts);
  look(restarts, `number ${actor.restarts ? "warn" : "zero"}`);
  text(crash, actor.last_crash);
  look(crash, "crash");
  if (crash.title !== actor.last_crash) crash.title = actor.last_crash;
}

function newMailbox() {
  const row = make("tr");
  const depth = make("td");
  const [line, bar] = [make("div", "depth"), make("div", "bar")];
  bar.setAttribute("aria-hidden", "true");
  bar.append(make("i"));
  line.append(bar, make("span"));
  depth.append(line);
  row.append(make("td"), depth, make("td"), make("td"), make("td"));
  return row;
}

function drawMailbox(row, box) {
  const [name, depth, wait, refused, crashed] = row.children;
  const fill = box.capacity ? Math.min(1, box.depth / box.capacity) : 0;
  const [bar, label] = depth.firstChild.children;
  text(name, box.name);
  text(label, `${format.count(box.depth)} / ${format.count(box.capacity)}`);
  look(bar, `bar ${fill > 0.9 ? "bad" : fill > 0.6 ? "warn" : ""}`.trim());
  bar.firstChild.style.width = `${(fill * 100).toFixed(1)}%`;
  text(wait, format.wait(box.longest_wait_ms));
  look(wait, "number");
  text(refused, format.count(box.refused));
  look(refused, `number ${box.refused ? "warn" : "zero"}`);
  text(crashed, format.count(box.crashed));
  look(crashed, `number ${box.crashed ? "bad" : "zero"}`);
}
