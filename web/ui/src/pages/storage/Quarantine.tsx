import { useTranslation } from "react-i18next";
import { useList } from "@/api/lists";
import type { Quarantined } from "@/api/types";
import { bytes } from "@/lib/format";
import { Failure, Waiting, When } from "@/ui/bits";
import { ListTable } from "@/ui/ListTable";

export const QUARANTINE = "/quarantine";

/** Objects that are kept aside, and why. */
export function Quarantine() {
  const { t, i18n } = useTranslation();
  const found = useList<Quarantined>(QUARANTINE);
  return (
    <section>
      <h2 className="section-title">{t("storage.check.quarantine")}</h2>
      {found.isPending && <Waiting />}
      {found.isError && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.data?.length === 0 && <p className="note">{t("storage.check.quarantine_none")}</p>}
      {found.data && found.data.length > 0 && (
        <ListTable
          label={t("storage.check.quarantine")}
          items={found.data}
          rowKey={(one) => one.id}
          columns={[
            {
              title: t("storage.check.reason"),
              cell: (one) => t(`storage.check.reasons.${one.why}`, one.why),
            },
            {
              title: t("storage.check.instance"),
              cell: (one) => (
                <span className="mono clip uid" title={one.sop_instance_uid}>
                  {one.sop_instance_uid || "–"}
                </span>
              ),
            },
            {
              title: t("storage.check.source"),
              cell: (one) => [one.source, one.address].filter(Boolean).join(" · ") || "–",
            },
            {
              title: t("storage.size"),
              numeric: true,
              cell: (one) => bytes(one.size_bytes, i18n.language),
            },
            { title: t("storage.check.when"), cell: (one) => <When at={one.quarantined_at} /> },
          ]}
        />
      )}
    </section>
  );
}
