import { Button, Drawer, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import type { Tag } from "@/api/types";
import { filterTags, tagText } from "@/lib/tags";
import { copy, CopyButton, Empty, Failure, useTell, Waiting } from "@/ui/bits";
import { IconCopy, IconSearch } from "@/ui/icons";
import { TextFilter } from "@/ui/TextFilter";

const ROW = 30;

/** Every attribute of an instance, searched while one types. */
export function TagsDrawer({ path, onClose }: { path: string | undefined; onClose: () => void }) {
  const { t } = useTranslation();
  return (
    <Drawer
      opened={path !== undefined}
      onClose={onClose}
      position="right"
      size="min(860px, 92vw)"
      title={t("tags.title")}
      closeButtonProps={{ "aria-label": t("close") }}
      classNames={{ body: "drawer-body" }}
    >
      {path && <Tags path={path} />}
    </Drawer>
  );
}

function Tags({ path }: { path: string }) {
  const { t } = useTranslation();
  const tell = useTell();
  const [wanted, setWanted] = useState("");
  const [scroller, setScroller] = useState<HTMLDivElement | null>(null);
  const tags = useQuery({
    queryKey: ["tags", path],
    queryFn: ({ signal }) => api.get<{ items: Tag[] }>(path, {}, signal),
    staleTime: Infinity,
  });
  const found = useMemo(() => filterTags(tags.data?.items ?? [], wanted), [tags.data, wanted]);
  const virtual = useVirtualizer({
    count: found.length,
    getScrollElement: () => scroller,
    estimateSize: () => ROW,
    overscan: 20,
  });
  if (tags.isPending) return <Waiting />;
  if (tags.isError) return <Failure error={tags.error} retry={() => void tags.refetch()} />;
  return (
    <div className="tags">
      <Group gap="xs">
        <div className="search-box grow">
          <IconSearch size={16} aria-hidden />
          <TextFilter
            className="search-field"
            label={t("tags.search")}
            placeholder={t("tags.search_placeholder")}
            value={wanted}
            onChange={setWanted}
          />
        </div>
        <Text size="sm" c="dimmed" role="status">
          {t("tags.count", { count: found.length })}
        </Text>
        <Button
          size="xs"
          variant="default"
          leftSection={<IconCopy size={15} />}
          onClick={() => void copy(found.map(tagText).join("\n")).then((done) => done && tell.done(t("copied")))}
        >
          {t("tags.copy_all")}
        </Button>
      </Group>
      {found.length === 0 && <Empty title={t("tags.none")} />}
      <div className="tags-scroll" ref={setScroller} role="region" aria-label={t("tags.title")} tabIndex={0}>
        <div
          role="table"
          aria-label={t("tags.title")}
          aria-rowcount={found.length}
          className="tags-rows"
          style={{ height: virtual.getTotalSize() }}
        >
          {virtual.getVirtualItems().map((item) => {
            const tag = found[item.index];
            if (!tag) return null;
            return (
              <div
                key={item.key}
                role="row"
                aria-rowindex={item.index + 1}
                className="tag"
                style={{ transform: `translateY(${item.start}px)` }}
              >
                <span role="cell" className="mono tag-number" style={{ paddingLeft: tag.depth * 14 }}>
                  {`(${tag.tag.slice(0, 4)},${tag.tag.slice(4)})`}
                </span>
                <span role="cell" className="mono faint">
                  {tag.vr}
                </span>
                <span role="cell" className="clip" title={tag.keyword}>
                  {tag.name || tag.keyword}
                </span>
                <span role="cell" className="clip mono copyable" title={tag.value}>
                  <span className="clip">{tag.value}</span>
                  {tag.value && <CopyButton value={tag.value} label={t("tags.copy", { name: tag.name || tag.tag })} />}
                </span>
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
