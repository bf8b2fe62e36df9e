import { Button } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { useSession } from "@/api/session";
import { recall, useStudyStorage } from "@/api/storage";
import type { Study } from "@/api/types";
import { isRecall, isUnderWay, lastRecall, mustBeRecalled, shown } from "@/lib/storage";
import { useTell } from "@/ui/bits";
import { IconAlertTriangle, IconArchive, IconDatabase } from "@/ui/icons";
import { HowFar } from "../storage/MoveTable";

export function useRecall(study: string) {
  const client = useQueryClient();
  const tell = useTell();
  return useMutation({
    mutationFn: () => recall(study),
    onSuccess: () => client.invalidateQueries({ queryKey: ["study-storage", study] }),
    onError: tell.failed,
  });
}

/** A study that is not at hand: what that means, how far its recall is, and having it recalled. */
export function RecallBanner({ study: { study_instance_uid: uid, availability } }: { study: Study }) {
  const { t } = useTranslation();
  const { may } = useSession();
  const storage = useStudyStorage(uid).data;
  const order = useRecall(uid);
  const underWay = storage?.moves.find((move) => isRecall(move) && isUnderWay(move));
  const last = storage && lastRecall(storage);
  const failed = last?.state === "failed" ? last : undefined;
  const broken = availability === "UNAVAILABLE";
  const Icon = broken ? IconAlertTriangle : mustBeRecalled(availability) ? IconArchive : IconDatabase;
  return (
    <div className="card banner" data-tone={broken || failed ? "warn" : undefined} role="status">
      <Icon size={20} stroke={1.5} aria-hidden />
      <b>{t(underWay ? "storage.study.being_recalled" : `storage.availability.${availability}`, availability)}</b>
      <span className="grow">
        {underWay ? (
          underWay.instances ? (
            <HowFar move={shown(underWay)} />
          ) : (
            t("storage.study.recall_waits")
          )
        ) : (
          t(`storage.availability_note.${availability}`, "")
        )}
        {failed && (
          <span className="warn">
            {" "}
            {t("storage.study.recall_failed")}: {failed.problem}
          </span>
        )}
      </span>
      {may("study.view") && !underWay && !broken && (
        <Button size="compact-sm" loading={order.isPending} onClick={() => order.mutate()}>
          {t("storage.study.recall")}
        </Button>
      )}
    </div>
  );
}
