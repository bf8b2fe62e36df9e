import { Button, Group, Menu, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useRef } from "react";
import { useTranslation } from "react-i18next";
import { address, api } from "@/api/client";
import type { AuditVerdict } from "@/api/types";
import { momentRange } from "@/lib/dates";
import { AUDIT_EVENTS, auditSort } from "@/lib/auditEvents";
import { describe } from "@/lib/describe";
import { useKeys } from "@/shell/keyboard";
import { PageHead } from "@/ui/bits";
import { DateFilter } from "@/ui/DateFilter";
import { ChoiceFilter } from "@/ui/ChoiceFilter";
import { IconDownload, IconRefresh, IconSearch, IconShieldCheck, IconShieldX } from "@/ui/icons";
import { TextFilter } from "@/ui/TextFilter";
import { AuditTable } from "./audit/AuditTable";

const route = getRouteApi("/inside/audit");
const TEXTS = ["who", "address", "patient_id", "uid"] as const;
const OUTCOMES = ["success", "warning", "failure", "refused"];

export function AuditPage() {
  const { t } = useTranslation();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const field = useRef<HTMLInputElement>(null);
  useKeys({ "/": () => field.current?.focus() });
  const set = (name: string) => (value: string) =>
    void navigate({ search: (before) => ({ ...before, [name]: value || undefined }) });
  const { period, sort, ...texts } = search;
  const [from, to] = momentRange(period ?? "").split("/");
  const query = { ...texts, from, to };
  const labels: Record<(typeof TEXTS)[number], string> = {
    who: t("audit.who"),
    address: t("audit.address"),
    patient_id: t("column.patient_id"),
    uid: t("audit.uid"),
  };
  return (
    <div className="page">
      <PageHead title={t("nav.audit")}>
        <Verdict />
        <Menu position="bottom-end">
          <Menu.Target>
            <Button variant="default" leftSection={<IconDownload size={16} />}>
              {t("audit.export")}
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            {["csv", "xml", "jsonl"].map((format) => (
              <Menu.Item
                key={format}
                component="a"
                href={address("/api/v1/audit/export", { ...query, format })}
                download
              >
                {format === "xml" ? "XML (DICOM PS3.15)" : format.toUpperCase()}
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
      </PageHead>
      <div className="filter-bar">
        <div className="search-box">
          <IconSearch size={16} aria-hidden />
          <TextFilter
            className="search-field"
            inputRef={field}
            label={t("audit.search")}
            placeholder={t("audit.search")}
            value={search["q"] ?? ""}
            onChange={set("q")}
          />
        </div>
        <div className="filter">
          <span aria-hidden>{t("audit.period")}</span>
          <DateFilter label={t("audit.period")} value={period ?? ""} onChange={set("period")} />
        </div>
        <div className="filter">
          <span aria-hidden>{t("audit.event")}</span>
          <ChoiceFilter
            single
            label={t("audit.event")}
            value={search["event"] ?? ""}
            choices={AUDIT_EVENTS.map((event) => ({ value: event, label: t(`audit.events.${event}`) }))}
            onChange={set("event")}
          />
        </div>
        <div className="filter">
          <span aria-hidden>{t("audit.outcome")}</span>
          <ChoiceFilter
            single
            label={t("audit.outcome")}
            value={search["outcome"] ?? ""}
            choices={OUTCOMES.map((outcome) => ({ value: outcome, label: t(`audit.outcomes.${outcome}`) }))}
            onChange={set("outcome")}
          />
        </div>
        {TEXTS.map((name) => (
          <div key={name} className="filter">
            <span aria-hidden>{labels[name]}</span>
            <TextFilter label={labels[name]} value={search[name] ?? ""} onChange={set(name)} />
          </div>
        ))}
      </div>
      <div className="card table-card">
        <AuditTable path="/audit" query={query} sort={auditSort(sort)} onSort={set("sort")} />
      </div>
    </div>
  );
}

/** Whether the chain of the audit is unbroken; asked for by a click, since all of it is read. */
function Verdict() {
  const { t } = useTranslation();
  const verdict = useQuery({
    queryKey: ["audit verdict"],
    queryFn: ({ signal }) => api.get<AuditVerdict>("/audit/verify", {}, signal),
    enabled: false,
    staleTime: Infinity,
  });
  const { data } = verdict;
  const note =
    data &&
    (data.ok ? t("audit.intact_note", { count: data.events ?? 0 }) : t("audit.broken_note", { why: data.why ?? "" }));
  return (
    <Group gap="xs" role="status">
      {verdict.isError && <span className="outcome">{describe(verdict.error, t)}</span>}
      {data && (
        <Tooltip label={note}>
          <span className="outcome" data-good={data.ok || undefined}>
            {data.ok ? <IconShieldCheck size={18} aria-hidden /> : <IconShieldX size={18} aria-hidden />}
            {t(data.ok ? "audit.intact" : "audit.broken")}
          </span>
        </Tooltip>
      )}
      {data && !data.ok && <span className="outcome">{note}</span>}
      <Button
        variant="default"
        leftSection={<IconRefresh size={16} />}
        loading={verdict.isFetching}
        onClick={() => void verdict.refetch()}
      >
        {t("audit.verify")}
      </Button>
    </Group>
  );
}
