import { Modal } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useList } from "@/api/lists";
import type { Policy, PolicyRun } from "@/api/types";
import { bytes, whole } from "@/lib/format";
import { Empty, Failure, Waiting, When } from "@/ui/bits";
import { ListTable } from "@/ui/ListTable";
import { POLICIES } from "./PolicyEditor";

/** What a policy has found, the newest first. */
export function PolicyRuns({ policy, onClose }: { policy: Policy; onClose: () => void }) {
  const { t, i18n } = useTranslation();
  const runs = useList<PolicyRun>(`${POLICIES}/${policy.id}/runs`);
  return (
    <Modal
      opened
      onClose={onClose}
      title={t("storage.policy.history", { name: policy.name })}
      size="lg"
      closeButtonProps={{ "aria-label": t("close") }}
    >
      {runs.isPending && <Waiting />}
      {runs.isError && <Failure error={runs.error} retry={() => void runs.refetch()} />}
      {runs.data?.length === 0 && <Empty title={t("storage.policy.no_history")} />}
      {runs.data && runs.data.length > 0 && (
        <ListTable
          label={t("storage.policy.history", { name: policy.name })}
          items={runs.data}
          rowKey={(run) => run.at}
          columns={[
            { title: t("storage.policy.at"), cell: (run) => <When at={run.at} /> },
            { title: t("storage.studies"), numeric: true, cell: (run) => whole(run.studies, i18n.language) },
            { title: t("storage.size"), numeric: true, cell: (run) => bytes(run.size_bytes, i18n.language) },
            {
              title: t("storage.policy.problem"),
              className: "wrapped",
              cell: (run) => <span className="warn">{run.problem}</span>,
            },
          ]}
        />
      )}
    </Modal>
  );
}
