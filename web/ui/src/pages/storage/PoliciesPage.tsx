import { Button, Switch } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange, useList } from "@/api/lists";
import { useSession } from "@/api/session";
import type { Policy } from "@/api/types";
import { Empty, Failure, IconButton, useTell, Waiting, When } from "@/ui/bits";
import { useConfirm } from "@/ui/confirm";
import { IconFilter, IconHistory, IconPencil, IconPlayerPlay, IconPlus, IconTrash } from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";
import { POLICIES, PolicyEditor } from "./PolicyEditor";
import { PolicyRuns } from "./PolicyRuns";
import { Conditions, Does } from "./RuleText";

export function PoliciesPage() {
  const { t } = useTranslation();
  const { may } = useSession();
  const tell = useTell();
  const confirm = useConfirm();
  const client = useQueryClient();
  const [edited, setEdited] = useState<Policy | "new">();
  const [history, setHistory] = useState<Policy>();
  const policies = useList<Policy>(POLICIES);
  const writes = may("storage.write");
  const enable = useChange(POLICIES, ({ id, name, priority, rule, enabled }: Policy) =>
    api.put(`${POLICIES}/${id}`, { name, priority, rule, enabled: !enabled }),
  );
  const remove = useChange(POLICIES, (id: number) => api.delete(`${POLICIES}/${id}`));
  const runAll = useMutation({
    mutationFn: () => api.post("/storage/run"),
    onSuccess: async () => {
      tell.done(t("storage.policy.ran"));
      await client.invalidateQueries({ queryKey: ["list", POLICIES] });
    },
    onError: tell.failed,
  });
  return (
    <section>
      <div className="section-head">
        <p className="lead grow">{t("storage.policy.note")}</p>
        {writes && (
          <>
            <Button
              variant="default"
              leftSection={<IconPlayerPlay size={16} />}
              loading={runAll.isPending}
              onClick={() => runAll.mutate()}
            >
              {t("storage.policy.run_all")}
            </Button>
            <Button leftSection={<IconPlus size={16} />} onClick={() => setEdited("new")}>
              {t("storage.policy.add")}
            </Button>
          </>
        )}
      </div>
      {policies.isPending && <Waiting />}
      {policies.isError && <Failure error={policies.error} retry={() => void policies.refetch()} />}
      {enable.isError && <Failure error={enable.error} />}
      {policies.data?.length === 0 && (
        <div className="card">
          <Empty icon={<IconFilter size={32} stroke={1.3} />} title={t("storage.policy.none")}>
            {t("storage.policy.none_note")}
          </Empty>
        </div>
      )}
      {policies.data && policies.data.length > 0 && (
        <ListTable
          label={t("storage.policies")}
          items={policies.data}
          rowKey={(policy) => policy.id}
          columns={[
            {
              title: t("storage.policy.enabled"),
              cell: (policy) => (
                <Switch
                  aria-label={t("storage.policy.enable", { name: policy.name })}
                  checked={policy.enabled}
                  disabled={!writes || (enable.isPending && enable.variables.id === policy.id)}
                  onChange={() => enable.mutate(policy)}
                />
              ),
            },
            { title: t("storage.policy.priority"), numeric: true, cell: (policy) => policy.priority },
            { title: t("storage.policy.name"), className: "wrapped", cell: (policy) => <b>{policy.name}</b> },
            { title: t("storage.policy.what"), cell: (policy) => <Does rule={policy.rule} /> },
            {
              title: t("storage.policy.which"),
              className: "wrapped",
              cell: (policy) => <Conditions rule={policy.rule} />,
            },
            {
              title: t("storage.policy.changed"),
              cell: (policy) => (
                <span className="faint">
                  {policy.changed_by} · <When at={policy.changed_at} />
                </span>
              ),
            },
          ]}
          actions={(policy) => (
            <>
              <IconButton label={t("storage.policy.history", { name: policy.name })} onClick={() => setHistory(policy)}>
                <IconHistory size={16} />
              </IconButton>
              {writes && (
                <>
                  <IconButton label={`${t("edit")}: ${policy.name}`} onClick={() => setEdited(policy)}>
                    <IconPencil size={16} />
                  </IconButton>
                  <IconButton
                    label={`${t("delete")}: ${policy.name}`}
                    onClick={() =>
                      confirm(
                        t("storage.policy.delete", { name: policy.name }),
                        t("storage.policy.delete_text"),
                        t("delete"),
                        () => remove.mutateAsync(policy.id),
                      )
                    }
                  >
                    <IconTrash size={16} />
                  </IconButton>
                </>
              )}
            </>
          )}
        />
      )}
      {edited && <PolicyEditor policy={edited === "new" ? undefined : edited} onClose={() => setEdited(undefined)} />}
      {history && <PolicyRuns policy={history} onClose={() => setHistory(undefined)} />}
    </section>
  );
}
