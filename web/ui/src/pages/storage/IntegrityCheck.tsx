import { Button, Group } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useSession } from "@/api/session";
import type { Integrity, IntegrityRun } from "@/api/types";
import { bytes, duration, whole } from "@/lib/format";
import { useTell, When } from "@/ui/bits";
import { useConfirm } from "@/ui/confirm";
import { IconPlayerPlay } from "@/ui/icons";
import { Progress } from "@/ui/Progress";

interface Props {
  kind: "scrub" | "reconcile";
  runs: Integrity["scrub"];
  /** How many there are, to compare with. */
  objects: number;
}

/** One kind of check: how far it is, how it ended last, and having it begun. */
export function IntegrityCheck({ kind, runs, objects }: Props) {
  const { t } = useTranslation();
  const { may } = useSession();
  const tell = useTell();
  const confirm = useConfirm();
  const client = useQueryClient();
  const start = useMutation({
    mutationFn: (fix: boolean) => api.post(`/integrity/${kind}`, kind === "scrub" ? {} : { fix }),
    onSuccess: () => client.invalidateQueries({ queryKey: ["integrity"] }),
  });
  const begin = (fix: boolean) => void start.mutateAsync(fix).catch(tell.failed);
  const { running, last } = runs;
  const name = t(`storage.check.${kind}`);
  return (
    <section className="card section" aria-label={name}>
      <div className="section-head">
        <h2>{name}</h2>
        {may("storage.write") && (
          <Group gap="xs" ml="auto">
            <Button
              size="compact-sm"
              variant="light"
              leftSection={<IconPlayerPlay size={14} />}
              disabled={running !== null}
              loading={start.isPending}
              onClick={() => begin(false)}
            >
              {t(`storage.check.${kind}_now`)}
            </Button>
            {kind === "reconcile" && (
              <Button
                size="compact-sm"
                variant="default"
                disabled={running !== null}
                onClick={() =>
                  confirm(t("storage.check.fix_now"), t("storage.check.fix_text"), t("storage.check.fix_now"), () =>
                    start.mutateAsync(true),
                  )
                }
              >
                {t("storage.check.fix_now")}
              </Button>
            )}
          </Group>
        )}
      </div>
      <p className="note">{t(`storage.check.${kind}_note`)}</p>
      {running && (
        <div className="running">
          <b>{t("storage.check.running")}</b>
          <Progress
            done={running.objects}
            of={Math.max(objects, running.objects)}
            label={t("storage.check.progress", { name })}
          />
          <LookedAt run={running} />
        </div>
      )}
      {last ? <Last run={last} /> : !running && <p className="note">{t("storage.check.never")}</p>}
      {runs.next_at && (
        <p className="note">
          {t("storage.check.next")} <When at={runs.next_at} />
        </p>
      )}
    </section>
  );
}

function LookedAt({ run }: { run: IntegrityRun }) {
  const { t, i18n } = useTranslation();
  return (
    <span className="faint">
      {t("bulk.images", { count: run.objects, shown: whole(run.objects, i18n.language) })} ·{" "}
      {bytes(run.size_bytes, i18n.language)}
      {run.found > 0 && ` · ${t("storage.check.found_count", { count: run.found, fixed: run.fixed })}`}
    </span>
  );
}

function Last({ run }: { run: IntegrityRun }) {
  const { t, i18n } = useTranslation();
  const seconds = run.ended_at ? (Date.parse(run.ended_at) - Date.parse(run.began_at)) / 1000 : 0;
  return (
    <dl className="facts plain-facts">
      <div>
        <dt>{t("storage.check.last")}</dt>
        <dd>
          <When at={run.ended_at} />
          <span className="faint"> · {run.asked_by || t("storage.check.by_itself")}</span>
        </dd>
      </div>
      <div>
        <dt>{t("storage.check.looked_at")}</dt>
        <dd>
          {whole(run.objects, i18n.language)} · {bytes(run.size_bytes, i18n.language)}
          <span className="faint"> · {duration(seconds)}</span>
        </dd>
      </div>
      <div>
        <dt>{t("storage.check.found")}</dt>
        <dd>
          {run.found ? (
            <span className="warn">{t("storage.check.found_count", { count: run.found, fixed: run.fixed })}</span>
          ) : (
            <span className="good">{t("storage.check.found_none")}</span>
          )}
          {run.problem && <div className="warn small">{run.problem}</div>}
        </dd>
      </div>
    </dl>
  );
}
