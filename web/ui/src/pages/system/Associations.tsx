import { useTranslation } from "react-i18next";
import type { WorkerStatus } from "@/api/types";
import { bytes, duration, whole } from "@/lib/format";
import { Empty } from "@/ui/bits";
import { IconPlugConnected } from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";

export function Associations({ workers }: { workers: readonly WorkerStatus[] }) {
  const { t, i18n } = useTranslation();
  const open = workers.flatMap((worker) =>
    worker.associations.map((one, at) => ({ ...one, key: `${worker.slot} ${at}` })),
  );
  return (
    <section>
      <h2 className="section-title">{t("system.associations")}</h2>
      {open.length === 0 ? (
        <div className="card">
          <Empty icon={<IconPlugConnected size={30} stroke={1.3} />} title={t("system.no_associations")} />
        </div>
      ) : (
        <ListTable
          label={t("system.associations")}
          items={open}
          rowKey={(one) => one.key}
          columns={[
            { title: t("system.calling"), cell: (one) => <b>{one.calling_ae}</b> },
            { title: t("system.called"), cell: (one) => one.called_ae },
            { title: t("system.address"), className: "mono", cell: (one) => one.address },
            { title: t("system.doing"), cell: (one) => one.doing },
            { title: t("system.open_for"), numeric: true, cell: (one) => duration(one.since_s) },
            { title: t("system.requests"), numeric: true, cell: (one) => whole(one.requests, i18n.language) },
            { title: t("system.received"), numeric: true, cell: (one) => bytes(one.received_bytes, i18n.language) },
            { title: t("system.sent"), numeric: true, cell: (one) => bytes(one.sent_bytes, i18n.language) },
          ]}
        />
      )}
    </section>
  );
}
