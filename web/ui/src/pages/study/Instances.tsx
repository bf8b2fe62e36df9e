import { useInfiniteQuery } from "@tanstack/react-query";
import { Button, Table } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api, dicomweb } from "@/api/client";
import { useSession } from "@/api/session";
import { useDelete } from "@/api/studies";
import type { Instance, Page } from "@/api/types";
import { bytes } from "@/lib/format";
import { CopyButton, Failure, IconButton, Waiting } from "@/ui/bits";
import { IconDownload, IconListSearch, IconTrash } from "@/ui/icons";
import { TagsDrawer } from "./TagsDrawer";

const PAGE = 100;

export function Instances({ study, series }: { study: string; series: string }) {
  const { t, i18n } = useTranslation();
  const { may } = useSession();
  const remove = useDelete();
  const [tagsOf, setTagsOf] = useState<Instance>();
  const base = `/studies/${encodeURIComponent(study)}/series/${encodeURIComponent(series)}/instances`;
  const query = useInfiniteQuery({
    queryKey: ["study", study, series, "instances"],
    queryFn: ({ pageParam, signal }) => api.get<Page<Instance>>(base, { limit: PAGE, cursor: pageParam }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
  });
  if (query.isPending) return <Waiting />;
  if (query.isError) return <Failure error={query.error} retry={() => void query.refetch()} />;
  const items = query.data.pages.flatMap((page) => page.items);
  const [first] = query.data.pages;
  return (
    <div className="card table-card">
      <div className="table-wide" role="region" aria-label={t("study.instances")} tabIndex={0}>
        <Table className="plain">
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t("instance.number")}</Table.Th>
              <Table.Th>{t("instance.class")}</Table.Th>
              <Table.Th>{t("instance.size")}</Table.Th>
              <Table.Th>{t("instance.syntax")}</Table.Th>
              <Table.Th data-numeric>{t("column.size_bytes")}</Table.Th>
              <Table.Th className="roomy-only">{t("instance.uid")}</Table.Th>
              <Table.Th>
                <span className="hidden-title">{t("actions")}</span>
              </Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {items.map((instance) => (
              <Table.Tr key={instance.sop_instance_uid}>
                <Table.Td>{instance.instance_number || "–"}</Table.Td>
                <Table.Td>{instance.sop_class_name || instance.sop_class_uid}</Table.Td>
                <Table.Td>
                  {instance.rows ? `${instance.columns} × ${instance.rows}` : "–"}
                  {Number(instance.number_of_frames) > 1 && ` × ${instance.number_of_frames}`}
                </Table.Td>
                <Table.Td>{instance.transfer_syntax_name || instance.transfer_syntax_uid}</Table.Td>
                <Table.Td data-numeric>{bytes(instance.size_bytes, i18n.language)}</Table.Td>
                <Table.Td className="roomy-only">
                  <span className="copyable">
                    <span className="mono clip uid" title={instance.sop_instance_uid}>
                      {instance.sop_instance_uid}
                    </span>
                    <CopyButton value={instance.sop_instance_uid} label={t("instance.copy_uid")} />
                  </span>
                </Table.Td>
                <Table.Td className="row-actions">
                  {may("study.view") && (
                    <IconButton label={t("instance.tags")} onClick={() => setTagsOf(instance)}>
                      <IconListSearch size={16} />
                    </IconButton>
                  )}
                  {may("study.download") && (
                    <a
                      className="icon-link"
                      aria-label={t("instance.download")}
                      title={t("instance.download")}
                      href={`${dicomweb("studies", study, "series", series, "instances", instance.sop_instance_uid)}?accept=application/dicom`}
                      download={`${instance.sop_instance_uid}.dcm`}
                    >
                      <IconDownload size={16} />
                    </a>
                  )}
                  {may("study.delete") && (
                    <IconButton
                      label={t("instance.delete")}
                      onClick={() =>
                        remove(t("instance.delete"), t("bulk.delete_text", { count: 1 }), [
                          `${base.replace("/studies/", "")}/${encodeURIComponent(instance.sop_instance_uid)}`,
                        ])
                      }
                    >
                      <IconTrash size={16} />
                    </IconButton>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </div>
      {query.hasNextPage && (
        <Button
          m="xs"
          size="xs"
          variant="default"
          loading={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          {t("more", { shown: items.length, total: first?.total ?? 0 })}
        </Button>
      )}
      <TagsDrawer
        path={tagsOf ? `${base}/${encodeURIComponent(tagsOf.sop_instance_uid)}/tags` : undefined}
        onClose={() => setTagsOf(undefined)}
      />
    </div>
  );
}
