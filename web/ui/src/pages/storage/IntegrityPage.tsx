import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import type { Holdings, Integrity } from "@/api/types";
import { Failure, Waiting } from "@/ui/bits";
import { Findings, FINDINGS } from "./Findings";
import { IntegrityCheck } from "./IntegrityCheck";
import { Quarantine, QUARANTINE } from "./Quarantine";

const RUNNING_MS = 1_500;
const QUIET_MS = 15_000;

/** Whether everything is there and whole. */
export function IntegrityPage() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const state = useQuery({
    queryKey: ["integrity"],
    queryFn: ({ signal }) => api.get<Integrity>("/integrity", {}, signal),
    refetchInterval: ({ state: { data } }) => (data?.scrub.running || data?.reconcile.running ? RUNNING_MS : QUIET_MS),
  });
  const holdings = useQuery({
    queryKey: ["holdings"],
    queryFn: ({ signal }) => api.get<Holdings>("/system/storage", {}, signal),
  });
  // When a run has found more, or has ended, the lists below are others.
  const { scrub, reconcile } = state.data ?? {};
  const news = [scrub, reconcile].map((one) => `${one?.last?.id} ${one?.running?.found}`).join();
  const before = useRef(news);
  useEffect(() => {
    if (before.current === news) return;
    before.current = news;
    for (const path of [FINDINGS, QUARANTINE]) void client.invalidateQueries({ queryKey: ["list", path] });
  }, [news, client]);
  if (state.isPending) return <Waiting />;
  if (state.isError) return <Failure error={state.error} retry={() => void state.refetch()} />;
  const objects = holdings.data?.totals.instances ?? 0;
  return (
    <>
      <p className="lead">{t("storage.check.note")}</p>
      <div className="halves cards">
        <IntegrityCheck kind="scrub" runs={state.data.scrub} objects={objects} />
        <IntegrityCheck kind="reconcile" runs={state.data.reconcile} objects={objects} />
      </div>
      <Findings counts={state.data.findings} />
      <Quarantine />
    </>
  );
}
