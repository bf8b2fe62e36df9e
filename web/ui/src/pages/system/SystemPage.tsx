import { Button } from "@mantine/core";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import type { NodeStatus } from "@/api/types";
import { bytes, duration, whole } from "@/lib/format";
import { Failure, PageHead, Waiting } from "@/ui/bits";
import { IconPlayerPause, IconPlayerPlay } from "@/ui/icons";
import { Tiles, type Tile } from "@/ui/Tiles";
import { Alerts } from "./Alerts";
import { Associations } from "./Associations";
import { useNode } from "./useNode";
import { Worker } from "./Worker";

const IngestChart = lazy(() => import("./IngestChart"));

export function SystemPage() {
  const { t, i18n } = useTranslation();
  const [paused, setPaused] = useState(false);
  const { node, samples, error, retry } = useNode(paused);
  if (error) return <Failure error={error} retry={() => void retry()} />;
  if (!node) return <Waiting />;
  const last = samples.at(-1);
  return (
    <div className="page">
      <PageHead title={t("nav.system")} note={t("system.listens", { where: node.dicom, aet: node.ae_title })}>
        <Button
          variant="default"
          leftSection={paused ? <IconPlayerPlay size={16} /> : <IconPlayerPause size={16} />}
          aria-pressed={paused}
          onClick={() => setPaused((was) => !was)}
        >
          {t(paused ? "system.resume" : "system.pause")}
        </Button>
      </PageHead>
      <Alerts node={node} />
      <Figures node={node} />
      <section className="card section" aria-labelledby="ingest">
        <div className="section-head">
          <h2 id="ingest">{t("system.ingest")}</h2>
          {last && (
            <span className="figures">
              <b>{whole(last.instancesPerSecond, i18n.language)}</b> {t("system.rate")} ·{" "}
              <b>{bytes(last.bytesPerSecond, i18n.language)}</b>/s
            </span>
          )}
        </div>
        <Suspense fallback={<div className="chart" />}>
          <IngestChart
            samples={samples}
            label={t("system.ingest")}
            names={[t("system.rate"), t("system.bytes_rate")]}
            language={i18n.language}
          />
        </Suspense>
      </section>
      <Associations workers={node.workers} />
      {node.workers.map((worker) => (
        <Worker key={worker.slot} worker={worker} />
      ))}
    </div>
  );
}

function Figures({ node }: { node: NodeStatus }) {
  const { t, i18n } = useTranslation();
  const { workers } = node;
  const sum = (count: (worker: (typeof workers)[number]) => number) =>
    workers.reduce((total, worker) => total + count(worker), 0);
  const tiles: Tile[] = [
    [
      t("system.associations"),
      whole(
        sum((worker) => worker.associations.length),
        i18n.language,
      ),
    ],
    [
      t("system.stored"),
      whole(
        sum((worker) => worker.stored_instances),
        i18n.language,
      ),
      bytes(
        sum((worker) => worker.stored_bytes),
        i18n.language,
      ),
    ],
    [
      t("system.backlog"),
      whole(
        sum((worker) => worker.backlog),
        i18n.language,
      ),
    ],
    // The workers share a disk.
    [t("system.free"), bytes(Math.min(...workers.map((worker) => worker.free_bytes)), i18n.language)],
    [
      t("system.quarantine"),
      whole(
        sum((worker) => worker.conflicts),
        i18n.language,
      ),
    ],
    [
      t("system.restarts"),
      whole(
        sum((worker) => worker.actors.reduce((total, actor) => total + actor.restarts, 0)),
        i18n.language,
      ),
      workers.length
        ? t("system.uptime", { time: duration(Math.min(...workers.map((worker) => worker.uptime_s))) })
        : "",
    ],
  ];
  return <Tiles of={tiles} />;
}
