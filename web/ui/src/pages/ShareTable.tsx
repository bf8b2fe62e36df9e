import { Badge, Button, Table } from "@mantine/core";
import { modals } from "@mantine/modals";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import type { Page, Share } from "@/api/types";
import { Empty, Failure, useNow, useTell, Waiting, When } from "@/ui/bits";
import { IconLink, IconLock } from "@/ui/icons";

/** Share links, of one study or of all that one may see. */
export function ShareTable({ study }: { study?: string }) {
  const { t } = useTranslation();
  const tell = useTell();
  const now = useNow();
  const client = useQueryClient();
  const shares = useQuery({
    queryKey: ["shares", study ?? ""],
    queryFn: ({ signal }) => api.get<Page<Share>>("/shares", { study, limit: 500 }, signal),
  });
  const revoke = useMutation({
    mutationFn: (id: Share["id"]) => api.delete(`/shares/${encodeURIComponent(id)}`),
    onSuccess: () => client.invalidateQueries({ queryKey: ["shares"] }),
    onError: tell.failed,
  });
  if (shares.isPending) return <Waiting />;
  if (shares.isError) return <Failure error={shares.error} retry={() => void shares.refetch()} />;
  if (!shares.data.items.length)
    return (
      <div className="card">
        <Empty icon={<IconLink size={34} stroke={1.3} />} title={t("share.none")}>
          {t("share.none_note")}
        </Empty>
      </div>
    );
  const stateOf = (share: Share) =>
    share.revoked_at ? "revoked" : new Date(share.expires_at) < now ? "expired" : "in_force";
  return (
    <div className="card table-card table-wide">
      <Table className="plain">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("share.state")}</Table.Th>
            {!study && <Table.Th>{t("study.title")}</Table.Th>}
            <Table.Th>{t("share.note")}</Table.Th>
            <Table.Th>{t("share.created")}</Table.Th>
            <Table.Th>{t("share.expires")}</Table.Th>
            <Table.Th data-numeric>{t("share.opened")}</Table.Th>
            <Table.Th>
              <span className="hidden-title">{t("actions")}</span>
            </Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {shares.data.items.map((share) => (
            <Table.Tr key={share.id}>
              <Table.Td>
                <Badge color={stateOf(share) === "in_force" ? "teal" : "gray"} variant="light">
                  {t(`share.${stateOf(share)}`)}
                </Badge>{" "}
                {share.has_password && <IconLock size={14} aria-label={t("share.has_password")} />}
              </Table.Td>
              {!study && (
                <Table.Td>
                  <Link to="/study/$study" params={{ study: share.study_instance_uid }} className="mono">
                    {share.study_instance_uid}
                  </Link>
                </Table.Td>
              )}
              <Table.Td>{share.note}</Table.Td>
              <Table.Td>
                <When at={share.created_at} /> {share.created_by && <span className="faint">· {share.created_by}</span>}
              </Table.Td>
              <Table.Td>
                <When at={share.expires_at} />
              </Table.Td>
              <Table.Td data-numeric>{share.opened}</Table.Td>
              <Table.Td className="row-actions">
                {stateOf(share) === "in_force" && (
                  <Button
                    size="compact-xs"
                    variant="light"
                    color="red"
                    onClick={() =>
                      modals.openConfirmModal({
                        title: t("share.revoke"),
                        children: t("share.revoke_text"),
                        labels: { confirm: t("share.revoke"), cancel: t("cancel") },
                        confirmProps: { color: "red" },
                        closeButtonProps: { "aria-label": t("close") },
                        onConfirm: () => revoke.mutate(share.id),
                      })
                    }
                  >
                    {t("share.revoke")}
                  </Button>
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
