import { Button, Checkbox, Group, Menu, Popover, Stack, Text, Tooltip } from "@mantine/core";
import type { RowSelectionState } from "@tanstack/react-table";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { address, openUrl } from "@/api/client";
import { useSession } from "@/api/session";
import { fetchViewerAhead } from "@/api/viewerAhead";
import { whole } from "@/lib/format";
import {
  apiQuery,
  COLUMNS,
  DEFAULT_COLUMNS,
  formatSearch,
  NO_SEARCH,
  parseSearch,
  withFilter,
  type StudySearch,
} from "@/lib/search";
import { useKeys } from "@/shell/keyboard";
import { DateFilter } from "@/ui/DateFilter";
import { Empty, Failure, Waiting } from "@/ui/bits";
import { IconColumns3, IconFileSpreadsheet, IconListSearch, IconSearch, IconUpload, IconX } from "@/ui/icons";
import { TextFilter } from "@/ui/TextFilter";
import { DropArea } from "@/upload/DropArea";
import { BulkBar } from "./BulkBar";
import { SavedSearches } from "./SavedSearches";
import { StudyTable } from "./StudyTable";
import { useStudies } from "./useStudies";

const route = getRouteApi("/inside/");
const HIGHLIGHT_MS = 6_000;

export function StudiesPage() {
  const { t, i18n } = useTranslation();
  const { may } = useSession();
  const query = route.useSearch();
  const navigate = useNavigate();
  const search = useMemo(() => parseSearch(query), [query]);
  const list = useStudies(search);
  const [selection, setSelection] = useState<RowSelectionState>({});
  const [current, setCurrent] = useState(-1);
  const [highlit, setHighlit] = useState<ReadonlySet<string>>(new Set());
  const searchField = useRef<HTMLInputElement>(null);
  const { studies, fetchNextPage, hasNextPage, isFetchingNextPage } = list;

  const onSearch = useCallback(
    (next: StudySearch) => {
      setCurrent(-1);
      void navigate({ to: "/", search: formatSearch(next) });
    },
    [navigate],
  );
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  // Another search is another list: what is not in sight any more must not be deleted along.
  useEffect(() => setSelection({}), [search.filters]);
  useEffect(() => {
    if (!highlit.size) return;
    const timer = setTimeout(() => setHighlit(new Set()), HIGHLIGHT_MS);
    return () => clearTimeout(timer);
  }, [highlit]);

  const chosen = useMemo(() => studies.filter((study) => selection[study.study_instance_uid]), [studies, selection]);
  const at = studies[current];
  useKeys({
    "/": () => searchField.current?.focus(),
    j: () => setCurrent((index) => Math.min(studies.length - 1, index + 1)),
    k: () => setCurrent((index) => Math.max(0, index - 1)),
    Enter: () => {
      if (at) void navigate({ to: "/study/$study", params: { study: at.study_instance_uid } });
    },
    o: () => {
      if (at && may("study.view")) window.open(openUrl(at), "_blank", "noopener");
    },
    x: () => {
      if (at) setSelection((before) => ({ ...before, [at.study_instance_uid]: !before[at.study_instance_uid] }));
    },
    Escape: () => {
      setSelection({});
      setCurrent(-1);
    },
  });

  const views = may("study.view");
  useEffect(() => {
    if (views) fetchViewerAhead();
  }, [views]);

  const filtered = Object.keys(search.filters).length > 0;
  const showNew = () => void list.showFresh().then((fresh) => setHighlit(new Set(fresh)));
  return (
    <DropArea enabled={may("study.store")}>
      {(chooseFiles) => (
        <div className="page-fill">
          <h1 className="hidden-title">{t("nav.studies")}</h1>
          <Group className="toolbar" gap="xs" wrap="wrap">
            <div className="search-box">
              <IconSearch size={16} aria-hidden />
              <TextFilter
                className="search-field"
                inputRef={searchField}
                label={t("studies.search")}
                placeholder={t("studies.search_placeholder")}
                value={search.filters["q"] ?? ""}
                onChange={(value) => onSearch(withFilter(search, "q", value))}
              />
              <kbd aria-hidden>/</kbd>
            </div>
            <div className="toolbar-date">
              <DateFilter
                label={t("column.study_date")}
                placeholder={t("column.study_date")}
                value={search.filters["study_date"] ?? ""}
                onChange={(value) => onSearch(withFilter(search, "study_date", value))}
              />
            </div>
            <SavedSearches search={search} onSearch={onSearch} />
            {filtered && (
              <Button
                size="xs"
                variant="subtle"
                color="gray"
                leftSection={<IconX size={14} />}
                onClick={() => onSearch({ ...search, filters: NO_SEARCH.filters })}
              >
                {t("studies.clear_filters")}
              </Button>
            )}
            <Group gap="xs" ml="auto" wrap="nowrap">
              <Text size="sm" c="dimmed" className="total" role="status">
                {list.isPending
                  ? ""
                  : t(list.exact ? "studies.total" : "studies.total_more", {
                      count: list.total,
                      shown: whole(list.total, i18n.language),
                    })}
              </Text>
              <Columns search={search} onSearch={onSearch} />
              <Tooltip label={t("studies.csv_note")}>
                <Button
                  component="a"
                  href={address("/api/v1/studies", { ...apiQuery(search), format: "csv" })}
                  download
                  size="xs"
                  variant="default"
                  leftSection={<IconFileSpreadsheet size={15} />}
                >
                  CSV
                </Button>
              </Tooltip>
              {may("study.store") && <UploadButton onChoose={chooseFiles} />}
            </Group>
          </Group>
          {list.isError && <Failure error={list.error} retry={() => void list.refetch()} />}
          {list.isPending ? (
            <Waiting />
          ) : (
            <div className="table-frame">
              {list.fresh.length > 0 && (
                <button type="button" className="pill" onClick={showNew}>
                  {t("studies.new", { count: list.fresh.length })}
                </button>
              )}
              <StudyTable
                studies={studies}
                total={list.total}
                search={search}
                onSearch={onSearch}
                selection={selection}
                onSelection={setSelection}
                current={current}
                onCurrent={setCurrent}
                fresh={highlit}
                stale={list.isPlaceholderData}
                onEnd={onEnd}
              >
                {!studies.length && !list.isError && (
                  <Empty
                    icon={<IconListSearch size={36} stroke={1.3} />}
                    title={t(filtered ? "studies.none_found" : "studies.none")}
                  >
                    {t(
                      filtered
                        ? "studies.none_found_note"
                        : may("study.store")
                          ? "studies.none_note"
                          : "studies.none_note_reader",
                    )}
                  </Empty>
                )}
                {isFetchingNextPage && <Waiting />}
              </StudyTable>
            </div>
          )}
          {chosen.length > 0 && <BulkBar studies={chosen} onDone={() => setSelection({})} />}
        </div>
      )}
    </DropArea>
  );
}

function UploadButton({ onChoose }: { onChoose: (folder: boolean) => void }) {
  const { t } = useTranslation();
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <Button size="xs" leftSection={<IconUpload size={15} />}>
          {t("upload.button")}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item onClick={() => onChoose(true)}>{t("upload.folder")}</Menu.Item>
        <Menu.Item onClick={() => onChoose(false)}>{t("upload.files")}</Menu.Item>
        <Menu.Label>{t("upload.or_drop")}</Menu.Label>
      </Menu.Dropdown>
    </Menu>
  );
}

function Columns({ search, onSearch }: { search: StudySearch; onSearch: (search: StudySearch) => void }) {
  const { t } = useTranslation();
  return (
    <Popover position="bottom-end" shadow="md" trapFocus returnFocus>
      <Popover.Target>
        <Button size="xs" variant="default" leftSection={<IconColumns3 size={15} />}>
          {t("studies.columns")}
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label={t("studies.columns")}>
        <Stack gap={8}>
          {COLUMNS.map((column) => (
            <Checkbox
              key={column}
              size="xs"
              label={t(`column.${column}`)}
              checked={search.columns.includes(column)}
              disabled={search.columns.length === 1 && search.columns[0] === column}
              onChange={(event) => {
                const { checked } = event.currentTarget;
                const columns = COLUMNS.filter((one) => (one === column ? checked : search.columns.includes(one)));
                onSearch({ ...search, columns });
              }}
            />
          ))}
          <Button size="compact-xs" variant="subtle" onClick={() => onSearch({ ...search, columns: DEFAULT_COLUMNS })}>
            {t("studies.usual_columns")}
          </Button>
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}
