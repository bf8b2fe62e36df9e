import { Button } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange, useList } from "@/api/lists";
import type { PendingDeletion } from "@/api/types";
import { whole } from "@/lib/format";
import { Empty, Failure, PageHead, PersonName, useTell, Waiting, When } from "@/ui/bits";
import { IconArrowBackUp, IconTrash } from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";

const PATH = "/deletions";

export function DeletionsPage() {
  const { t, i18n } = useTranslation();
  const tell = useTell();
  const client = useQueryClient();
  const deletions = useList<PendingDeletion>(PATH);
  const undo = useChange(
    PATH,
    (id: PendingDeletion["id"]) => api.post<PendingDeletion>(`${PATH}/${encodeURIComponent(id)}/undo`),
    ({ lost }) => {
      if (lost) tell.warn(t("deletion.lost", { count: lost }));
      else tell.done(t("deletion.undone"));
      void client.invalidateQueries({ queryKey: ["studies"] });
    },
  );
  return (
    <div className="page">
      <PageHead title={t("nav.deletions")} note={t("deletion.note")} />
      {deletions.isPending && <Waiting />}
      {deletions.isError && <Failure error={deletions.error} retry={() => void deletions.refetch()} />}
      {undo.isError && <Failure error={undo.error} />}
      {deletions.data?.length === 0 && (
        <div className="card">
          <Empty icon={<IconTrash size={34} stroke={1.3} />} title={t("deletion.none")}>
            {t("deletion.none_note")}
          </Empty>
        </div>
      )}
      {deletions.data && deletions.data.length > 0 && (
        <ListTable
          label={t("nav.deletions")}
          items={deletions.data}
          rowKey={(one) => one.id}
          columns={[
            {
              title: t("deletion.what"),
              cell: (one) => (
                <>
                  {one.level && t(`deletion.${one.level}`, one.level)}{" "}
                  {one.patient_name && <PersonName value={one.patient_name} />}{" "}
                  <span className="mono faint">{one.study_instance_uid}</span>
                </>
              ),
            },
            {
              title: t("column.number_of_instances"),
              numeric: true,
              cell: (one) => whole(one.instances, i18n.language),
            },
            { title: t("deletion.by"), cell: (one) => one.deleted_by },
            { title: t("deletion.at"), cell: (one) => <When at={one.deleted_at} /> },
            { title: t("deletion.until"), cell: (one) => <When at={one.undo_until} /> },
          ]}
          actions={(one) => (
            <Button
              size="compact-sm"
              variant="light"
              leftSection={<IconArrowBackUp size={15} />}
              loading={undo.isPending && undo.variables === one.id}
              onClick={() => undo.mutate(one.id)}
            >
              {t("deletion.undo")}
            </Button>
          )}
        />
      )}
    </div>
  );
}
