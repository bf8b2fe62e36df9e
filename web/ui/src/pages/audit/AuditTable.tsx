import { Button, Code, Table, UnstyledButton } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Fragment, useState } from "react";
import { useTranslation } from "react-i18next";
import { api, type Query } from "@/api/client";
import type { AuditEvent, Page } from "@/api/types";
import { AUDIT_COLUMNS, LATEST } from "@/lib/auditEvents";
import { turnSort, wayOf } from "@/lib/search";
import { Empty, Failure, Waiting, When } from "@/ui/bits";
import { IconChevronDown, IconChevronRight, IconCircleCheck, IconCircleX, IconHistory } from "@/ui/icons";
import { SortButton } from "@/ui/SortButton";

const PAGE = 100;

const LABELS = {
  id: "audit.when",
  event: "audit.event",
  outcome: "audit.outcome",
  who: "audit.who",
  address: "audit.address",
  patient_id: "column.patient_id",
} as const;

interface Props {
  path: string;
  query: Query;
  sort: string;
  onSort: (sort: string) => void;
}

/** Who did what, latest first unless sorted; a row unfolds into everything that was noted. */
export function AuditTable({ path, query: filters, sort, onSort }: Props) {
  const { t } = useTranslation();
  const query = { ...filters, sort };
  const [open, setOpen] = useState<number>();
  const events = useInfiniteQuery({
    queryKey: ["audit", path, query],
    queryFn: ({ pageParam, signal }) =>
      api.get<Page<AuditEvent>>(path, { ...query, limit: PAGE, cursor: pageParam }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: (previous) => previous,
  });
  if (events.isPending) return <Waiting />;
  if (events.isError) return <Failure error={events.error} retry={() => void events.refetch()} />;
  const items = events.data.pages.flatMap((page) => page.items);
  if (!items.length) return <Empty icon={<IconHistory size={34} stroke={1.3} />} title={t("audit.none")} />;
  return (
    <>
      <div className="table-wide" role="region" aria-label={t("nav.audit")} tabIndex={0}>
        <Table className="plain">
          <Table.Thead>
            <Table.Tr>
              <Table.Th w={34}>
                <span className="hidden-title">{t("audit.details")}</span>
              </Table.Th>
              {AUDIT_COLUMNS.map((column) => {
                const way = wayOf(sort, column);
                return (
                  <Table.Th key={column} className="sortable" aria-sort={way ?? "none"}>
                    <SortButton
                      label={t(LABELS[column])}
                      way={way}
                      onClick={() => onSort(turnSort(sort, column, LATEST))}
                    />
                  </Table.Th>
                );
              })}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {items.map((event) => (
              <Fragment key={event.id}>
                <Table.Tr>
                  <Table.Td>
                    <UnstyledButton
                      className="icon-link"
                      aria-label={t("audit.details")}
                      aria-expanded={open === event.id}
                      onClick={() => setOpen((was) => (was === event.id ? undefined : event.id))}
                    >
                      {open === event.id ? <IconChevronDown size={16} /> : <IconChevronRight size={16} />}
                    </UnstyledButton>
                  </Table.Td>
                  <Table.Td>
                    <When at={event.at} />
                  </Table.Td>
                  <Table.Td>{t(`audit.events.${event.event}`, event.event)}</Table.Td>
                  <Table.Td>
                    <Outcome outcome={event.outcome} />
                  </Table.Td>
                  <Table.Td>{event.who || "–"}</Table.Td>
                  <Table.Td className="mono">{event.address}</Table.Td>
                  <Table.Td>{event.patient_id}</Table.Td>
                </Table.Tr>
                {open === event.id && <Details event={event} />}
              </Fragment>
            ))}
          </Table.Tbody>
        </Table>
      </div>
      {events.hasNextPage && (
        <Button
          m="xs"
          size="xs"
          variant="default"
          loading={events.isFetchingNextPage}
          onClick={() => void events.fetchNextPage()}
        >
          {t("more_of_them")}
        </Button>
      )}
    </>
  );
}

/** All of a row, as the export has it too. */
function Details({ event }: { event: AuditEvent }) {
  const { id, at, recorded_at, event: name, via, uids, details, hash } = event;
  return (
    <Table.Tr>
      <Table.Td />
      <Table.Td colSpan={6}>
        <Code block>{JSON.stringify({ id, at, recorded_at, event: name, via, uids, ...details, hash }, null, 2)}</Code>
      </Table.Td>
    </Table.Tr>
  );
}

function Outcome({ outcome }: { outcome: string }) {
  const { t } = useTranslation();
  const good = outcome === "success";
  const Icon = good ? IconCircleCheck : IconCircleX;
  return (
    <span className="outcome" data-good={good || undefined}>
      <Icon size={15} aria-hidden /> {t(`audit.outcomes.${outcome}`, outcome)}
    </span>
  );
}
