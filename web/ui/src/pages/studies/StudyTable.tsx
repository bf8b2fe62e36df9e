import { Checkbox, Tooltip } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { getCoreRowModel, useReactTable, type ColumnDef, type RowSelectionState } from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { openUrl } from "@/api/client";
import { useSession } from "@/api/session";
import type { Study } from "@/api/types";
import { mustBeRecalled } from "@/lib/storage";
import { nextSort, UNSORTED, wayOf, type Column, type StudySearch } from "@/lib/search";
import { Availability } from "@/ui/Availability";
import { IconEye } from "@/ui/icons";
import { SortButton } from "@/ui/SortButton";
import { ColumnFilter } from "./ColumnFilter";
import { LOOKS } from "./columns";
import { StudyPreview } from "./StudyPreview";

const ROW = 38;
const SELECT = 36;
const ACTIONS = 70;
/** How many rows before the end the next page is asked for. */
const AHEAD = 30;

interface Props {
  studies: readonly Study[];
  total: number;
  search: StudySearch;
  onSearch: (search: StudySearch) => void;
  selection: RowSelectionState;
  onSelection: (next: RowSelectionState) => void;
  current: number;
  onCurrent: (index: number) => void;
  fresh: ReadonlySet<string>;
  stale: boolean;
  onEnd: () => void;
  children?: ReactNode;
}

export function StudyTable(props: Props) {
  const { studies, search, onSearch, selection, onSelection, current, onCurrent, onEnd } = props;
  const { t, i18n } = useTranslation();
  const { may } = useSession();
  const scroller = useRef<HTMLDivElement>(null);
  const columns = useMemo<ColumnDef<Study>[]>(() => search.columns.map((id) => ({ id })), [search.columns]);
  const data = useMemo(() => [...studies], [studies]);
  const table = useReactTable({
    data,
    columns,
    getRowId: (study) => study.study_instance_uid,
    getCoreRowModel: getCoreRowModel(),
    manualSorting: true,
    state: { rowSelection: selection },
    onRowSelectionChange: (update) => onSelection(typeof update === "function" ? update(selection) : update),
  });
  const rows = table.getRowModel().rows;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 12,
    scrollPaddingStart: 84,
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (rows.length && last >= rows.length - AHEAD) onEnd();
  }, [last, rows.length, onEnd]);
  useEffect(() => {
    if (current >= 0) virtual.scrollToIndex(current);
  }, [current, virtual]);

  const above = items[0]?.start ?? 0;
  const below = items.length ? virtual.getTotalSize() - (items.at(-1)?.end ?? 0) : 0;
  const width = SELECT + ACTIONS + search.columns.reduce((sum, column) => sum + LOOKS[column].width, 0);
  // What is not at hand is marked, unless a column says so.
  const marked = !search.columns.includes("availability");
  const allChosen = table.getIsAllRowsSelected();

  return (
    <div
      className="table-scroll"
      ref={scroller}
      role="region"
      aria-label={t("nav.studies")}
      tabIndex={0}
      data-stale={props.stale || undefined}
    >
      <table className="grid" style={{ minWidth: width }} aria-rowcount={props.total + 2}>
        <colgroup>
          <col style={{ width: SELECT }} />
          <col style={{ width: ACTIONS }} />
          {search.columns.map((column) => (
            <col key={column} style={column === "study_description" ? undefined : { width: LOOKS[column].width }} />
          ))}
        </colgroup>
        <thead>
          <tr aria-rowindex={1}>
            <td className="cell-select pinned">
              <Checkbox
                size="xs"
                aria-label={t("studies.select_all")}
                checked={allChosen && rows.length > 0}
                indeterminate={table.getIsSomeRowsSelected() && !allChosen}
                onChange={table.getToggleAllRowsSelectedHandler()}
              />
            </td>
            <td />
            {search.columns.map((column) => (
              <Heading key={column} column={column} search={search} onSearch={onSearch} />
            ))}
          </tr>
          <tr className="filters" aria-rowindex={2}>
            <td />
            <td />
            {search.columns.map((column) => (
              <td key={column}>
                <ColumnFilter column={column} search={search} onSearch={onSearch} />
              </td>
            ))}
          </tr>
        </thead>
        <tbody>
          {above > 0 && <Gap height={above} />}
          {items.map((item) => {
            const row = rows[item.index];
            if (!row) return null;
            const study = row.original;
            const who = study.patient_id || study.study_instance_uid;
            return (
              // The keyboard has j, k and Enter, and the link in the row; the mouse may click anywhere on it.
              <tr
                key={row.id}
                aria-rowindex={item.index + 3}
                aria-selected={row.getIsSelected()}
                data-current={item.index === current || undefined}
                data-fresh={props.fresh.has(row.id) || undefined}
                onClick={() => onCurrent(item.index)}
              >
                <td className="cell-select">
                  <Checkbox
                    size="xs"
                    aria-label={t("studies.select", { name: who })}
                    checked={row.getIsSelected()}
                    onChange={row.getToggleSelectedHandler()}
                  />
                </td>
                <td className="cell-actions">
                  {may("study.view") && (
                    <>
                      <Tooltip label={t("open_viewer")}>
                        <a
                          className="icon-link accent"
                          href={openUrl(study)}
                          target="_blank"
                          rel="noopener"
                          aria-label={
                            mustBeRecalled(study.availability)
                              ? t("storage.study.recall_open", { name: who })
                              : `${t("open_viewer")}: ${who}`
                          }
                        >
                          <IconEye size={17} />
                        </a>
                      </Tooltip>
                      <StudyPreview study={row.id} label={`${t("studies.preview")}: ${who}`} />
                    </>
                  )}
                </td>
                {search.columns.map((column, at) => (
                  <td key={column} data-numeric={LOOKS[column].numeric || undefined}>
                    {at === 0 ? (
                      <span className="row-name">
                        <Link className="row-link clip" to="/study/$study" params={{ study: row.id }} preload={false}>
                          {LOOKS[column].cell(study, i18n.language, t) || row.id}
                        </Link>
                        {marked && study.availability !== "ONLINE" && <Availability compact of={study.availability} />}
                      </span>
                    ) : (
                      LOOKS[column].cell(study, i18n.language, t)
                    )}
                  </td>
                ))}
              </tr>
            );
          })}
          {below > 0 && <Gap height={below} />}
        </tbody>
      </table>
      {props.children}
    </div>
  );
}

function Gap({ height }: { height: number }) {
  return (
    <tr aria-hidden className="gap">
      <td style={{ height }} />
    </tr>
  );
}

function Heading({ column, search, onSearch }: { column: Column } & Pick<Props, "search" | "onSearch">) {
  const { t } = useTranslation();
  const way = wayOf(search.sort, column);
  return (
    <th scope="col" aria-sort={way ?? "none"} data-numeric={LOOKS[column].numeric || undefined}>
      {UNSORTED.has(column) ? (
        <span className="unsorted">{t(`column.${column}`)}</span>
      ) : (
        <SortButton
          label={t(`column.${column}`)}
          way={way}
          onClick={() => onSearch({ ...search, sort: nextSort(search.sort, column) })}
        />
      )}
    </th>
  );
}
