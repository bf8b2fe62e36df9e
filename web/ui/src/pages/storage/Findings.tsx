import { Badge, Group, SegmentedControl } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import type { Finding, Integrity, Page } from "@/api/types";
import { whole } from "@/lib/format";
import { CopyButton, Empty, Failure, Waiting, When } from "@/ui/bits";
import { IconAlertTriangle, IconCircleCheck, IconShieldCheck } from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";

export const FINDINGS = "/integrity/findings";
const MOST = 200;

/** What is not as it should be, and what has become of what was not. */
export function Findings({ counts }: { counts: Integrity["findings"] }) {
  const { t, i18n } = useTranslation();
  const [which, setWhich] = useState<"open" | "settled">("open");
  const settled = which === "settled";
  const found = useQuery({
    queryKey: ["list", FINDINGS, which],
    queryFn: ({ signal }) =>
      api.get<Page<Finding>>(FINDINGS, { limit: MOST, settled: settled ? "true" : undefined }, signal),
  });
  return (
    <section>
      <div className="section-head">
        <h2>{t("storage.check.findings")}</h2>
        <Group gap={6}>
          {Object.entries(counts).map(([kind, count]) => (
            <Badge key={kind} variant="light" color="red">
              {t(`storage.check.kinds.${kind}`, kind)}: {whole(count, i18n.language)}
            </Badge>
          ))}
        </Group>
        <SegmentedControl
          ml="auto"
          size="xs"
          aria-label={t("storage.check.findings")}
          value={which}
          onChange={(value) => setWhich(value === "settled" ? "settled" : "open")}
          data={[
            { value: "open", label: t("storage.check.open") },
            { value: "settled", label: t("storage.check.settled") },
          ]}
        />
      </div>
      {found.isPending && <Waiting />}
      {found.isError && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.data?.items.length === 0 && (
        <div className="card">
          <Empty
            icon={<IconShieldCheck size={32} stroke={1.3} />}
            title={t(settled ? "storage.check.none_settled" : "storage.check.none")}
          >
            {t("storage.check.none_note")}
          </Empty>
        </div>
      )}
      {found.data && found.data.items.length > 0 && (
        <ListTable
          label={t("storage.check.findings")}
          items={found.data.items}
          rowKey={(one) => one.id}
          columns={[
            {
              title: t("storage.check.kind"),
              cell: (one) => (
                <span className="state" data-tone={one.settled_at ? "ended" : "bad"}>
                  <IconAlertTriangle size={15} aria-hidden /> {t(`storage.check.kinds.${one.kind}`, one.kind)}
                </span>
              ),
            },
            { title: t("storage.check.done"), cell: (one) => <Done finding={one} /> },
            { title: t("storage.check.detail"), className: "wrapped", cell: (one) => one.detail },
            {
              title: t("storage.check.instance"),
              cell: (one) => (
                <span className="copyable">
                  <span className="mono clip uid" title={one.sop_instance_uid}>
                    {one.sop_instance_uid || "–"}
                  </span>
                  {one.sop_instance_uid && <CopyButton value={one.sop_instance_uid} label={t("instance.copy_uid")} />}
                </span>
              ),
            },
            {
              title: t("storage.check.subject"),
              cell: (one) => (
                <span className="mono clip uid" title={one.subject}>
                  {one.subject}
                </span>
              ),
            },
            {
              title: t("storage.check.when"),
              cell: (one) => (
                <>
                  <When at={one.found_at} />
                  <span className="faint"> · {t(`storage.check.${one.found_by}`, one.found_by)}</span>
                </>
              ),
            },
          ]}
        />
      )}
    </section>
  );
}

function Done({ finding }: { finding: Finding }) {
  const { t } = useTranslation();
  if (finding.settled_at)
    return (
      <span className="state" data-tone="good">
        <IconCircleCheck size={15} aria-hidden />
        {t(`storage.check.settled_as.${finding.settled}`, finding.settled)} · <When at={finding.settled_at} />
      </span>
    );
  return <>{t(finding.quarantine_key ? "storage.check.in_quarantine" : "storage.check.nothing_done")}</>;
}
