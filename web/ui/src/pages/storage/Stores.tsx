import { useTranslation } from "react-i18next";
import type { Storage } from "@/api/types";
import { bytes, whole } from "@/lib/format";
import { ONLINE } from "@/lib/storage";
import { Empty } from "@/ui/bits";
import { IconDatabase } from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";
import { State } from "@/ui/State";

interface Row {
  name: string;
  tier: string;
  kind: string;
  free_bytes: number | null;
  problem: string;
  studies: number;
  instances: number;
  size_bytes: number;
}

/** The online store, those of the settings, and those that copies are still said to be in. */
function rowsOf({ stores, figures }: Storage): Row[] {
  const held = new Map(figures.places.map((place) => [place.store, place]));
  const known = [
    { name: ONLINE, tier: ONLINE, kind: "local", free_bytes: figures.free_bytes, problem: "" },
    ...stores,
    ...figures.places
      .filter(({ store }) => store !== ONLINE && !stores.some((one) => one.name === store))
      .map(({ store }) => ({ name: store, tier: "gone", kind: "", free_bytes: null, problem: "" })),
  ];
  return known.map((one) => {
    const { studies = 0, instances = 0, size_bytes = 0 } = held.get(one.name) ?? {};
    return { ...one, studies, instances, size_bytes };
  });
}

export function Stores({ storage }: { storage: Storage }) {
  const { t, i18n } = useTranslation();
  return (
    <section>
      <h2 className="section-title">{t("storage.stores")}</h2>
      <ListTable
        label={t("storage.stores")}
        items={rowsOf(storage)}
        rowKey={(row) => row.name}
        columns={[
          {
            title: t("storage.store"),
            cell: (row) => <b>{row.name === ONLINE ? t("storage.online") : row.name}</b>,
          },
          { title: t("storage.tier"), cell: (row) => t(`storage.tiers.${row.tier}`, row.tier) },
          { title: t("storage.kind"), cell: (row) => (row.kind ? t(`storage.kinds.${row.kind}`, row.kind) : "–") },
          {
            title: t("storage.state"),
            className: "wrapped",
            cell: (row) => (
              <State
                state={row.problem || row.tier === "gone" ? "unusable" : "usable"}
                label={row.problem || t(row.tier === "gone" ? "storage.unusable" : "storage.usable")}
              />
            ),
          },
          {
            title: t("storage.room"),
            numeric: true,
            cell: (row) =>
              row.free_bytes === null ? (
                <span className="faint">{row.problem ? "–" : t("storage.unknown_room")}</span>
              ) : (
                bytes(row.free_bytes, i18n.language)
              ),
          },
          { title: t("storage.studies"), numeric: true, cell: (row) => whole(row.studies, i18n.language) },
          { title: t("storage.images"), numeric: true, cell: (row) => whole(row.instances, i18n.language) },
          { title: t("storage.size"), numeric: true, cell: (row) => bytes(row.size_bytes, i18n.language) },
        ]}
      />
      {storage.stores.length === 0 && (
        <div className="card">
          <Empty icon={<IconDatabase size={32} stroke={1.3} />} title={t("storage.no_stores")}>
            {t("storage.no_stores_note")}
          </Empty>
        </div>
      )}
    </section>
  );
}
