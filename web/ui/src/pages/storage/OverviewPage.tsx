import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useMemo } from "react";
import { useTranslation } from "react-i18next";
import { useStorage } from "@/api/storage";
import type { Storage } from "@/api/types";
import { bytes, day, whole } from "@/lib/format";
import { ONLINE } from "@/lib/storage";
import type { Bar } from "@/ui/BarChart";
import { Failure, Waiting, When } from "@/ui/bits";
import { Tiles, type Tile } from "@/ui/Tiles";
import { ClockDoubt } from "./ClockDoubt";
import { Running } from "./Running";
import { Stores } from "./Stores";

const BarChart = lazy(() => import("@/ui/BarChart"));
const MOVES: string = "/storage/moves";
const MOST_BARS = 12;

export function OverviewPage() {
  const { t } = useTranslation();
  const storage = useStorage();
  if (storage.isPending) return <Waiting />;
  if (storage.isError) return <Failure error={storage.error} retry={() => void storage.refetch()} />;
  return (
    <>
      {storage.data.clock_doubted_since && (
        <ClockDoubt since={storage.data.clock_doubted_since} now={storage.data.now} />
      )}
      <Figures storage={storage.data} />
      <Stores storage={storage.data} />
      <Charts storage={storage.data} />
      <Running storage={storage.data} />
      <p className="note">
        {t("storage.as_of")} <When at={storage.data.figures.at} />
      </p>
    </>
  );
}

function Figures({ storage: { figures, moves } }: { storage: Storage }) {
  const { t, i18n } = useTranslation();
  const size = (count: number) => bytes(count, i18n.language);
  const used = figures.total_bytes - figures.free_bytes;
  const underWay = (moves["running"] ?? 0) + (moves["waiting"] ?? 0);
  const failed = moves["failed"] ?? 0;
  const tiles: Tile[] = [
    [
      t("storage.disk"),
      <>
        {figures.total_bytes ? Math.round((100 * used) / figures.total_bytes) : 0} %
        <meter
          className="wide-meter"
          min={0}
          max={figures.total_bytes}
          high={figures.total_bytes * 0.9}
          value={used}
          aria-label={t("storage.disk")}
        />
      </>,
      t("storage.disk_note", { free: size(figures.free_bytes), total: size(figures.total_bytes) }),
    ],
    [t("storage.growth"), size(figures.grown_bytes), t("storage.growth_note", { count: figures.growth_days })],
    [
      t("storage.full_on"),
      figures.full_on ? day(new Date(`${figures.full_on}T12:00`), i18n.language) : t("storage.never_full"),
      t("storage.full_note"),
    ],
    [
      t("storage.under_way"),
      <Link key="moves" to={MOVES}>
        {whole(underWay, i18n.language)}
      </Link>,
      failed > 0 && <span className="warn">{t("storage.failed_today", { count: failed })}</span>,
    ],
  ];
  return <Tiles of={tiles} />;
}

function Charts({ storage: { figures } }: { storage: Storage }) {
  const { t, i18n } = useTranslation();
  const charts = useMemo<[string, Bar[], boolean][]>(
    () => [
      [
        t("storage.by_store"),
        figures.places.map((one) => ({
          name: one.store === ONLINE ? t("storage.online") : one.store,
          bytes: one.size_bytes,
        })),
        true,
      ],
      [
        t("storage.by_modality"),
        figures.modalities.slice(0, MOST_BARS).map((one) => ({ name: one.modality || "–", bytes: one.size_bytes })),
        true,
      ],
      [t("storage.by_month"), figures.months.map((one) => ({ name: one.month, bytes: one.size_bytes })), false],
    ],
    [figures, t],
  );
  return (
    <div className="charts">
      {charts.map(([label, bars, lying]) => (
        <section key={label} className="card section" aria-label={label}>
          <div className="section-head">
            <h2>{label}</h2>
          </div>
          <Suspense fallback={<div className="chart" />}>
            <BarChart bars={bars} label={label} language={i18n.language} lying={lying} />
          </Suspense>
        </section>
      ))}
    </div>
  );
}
