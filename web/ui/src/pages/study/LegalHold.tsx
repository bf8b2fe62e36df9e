import { Button, Textarea } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useSession } from "@/api/session";
import { studyPath } from "@/api/storage";
import type { StudyStorage } from "@/api/types";
import { When } from "@/ui/bits";
import { useConfirm } from "@/ui/confirm";
import { Dialog } from "@/ui/Dialog";
import { IconGavel } from "@/ui/icons";

/** Whether somebody has forbidden that the study is removed, and why. */
export function LegalHold({ study, hold }: { study: string; hold: StudyStorage["hold"] }) {
  const { t } = useTranslation();
  const { may } = useSession();
  const confirm = useConfirm();
  const client = useQueryClient();
  const [placing, setPlacing] = useState(false);
  const path = `${studyPath(study)}/hold`;
  const settled = () => client.invalidateQueries({ queryKey: ["study-storage", study] });
  const lift = useMutation({ mutationFn: () => api.delete(path), onSuccess: settled });
  return (
    <section className="card section" aria-label={t("storage.study.hold")}>
      <div className="section-head">
        <IconGavel size={18} stroke={1.5} aria-hidden />
        <h2>{t("storage.study.hold")}</h2>
        {may("storage.write") && (
          <Button
            size="compact-sm"
            ml="auto"
            variant="light"
            loading={lift.isPending}
            onClick={() =>
              hold
                ? confirm(
                    t("storage.study.lift_hold"),
                    t("storage.study.lift_text"),
                    t("storage.study.lift_hold"),
                    () => lift.mutateAsync(),
                  )
                : setPlacing(true)
            }
          >
            {t(hold ? "storage.study.lift_hold" : "storage.study.place_hold")}
          </Button>
        )}
      </div>
      {hold ? (
        <>
          <p className="held">{hold.reason}</p>
          <p className="note">
            {t("storage.study.held_by", { who: hold.placed_by })} · <When at={hold.placed_at} /> ·{" "}
            {t("storage.study.held")}
          </p>
        </>
      ) : (
        <p className="note">{t("storage.study.no_hold")}</p>
      )}
      {placing && <Place path={path} onClose={() => setPlacing(false)} onDone={settled} />}
    </section>
  );
}

function Place({ path, onClose, onDone }: { path: string; onClose: () => void; onDone: () => Promise<void> }) {
  const { t } = useTranslation();
  const [reason, setReason] = useState("");
  const place = useMutation({
    mutationFn: () => api.put(path, { reason: reason.replaceAll(/\s+/g, " ").trim() }),
    onSuccess: async () => {
      await onDone();
      onClose();
    },
  });
  return (
    <Dialog
      title={t("storage.study.place_hold")}
      submit={t("storage.study.place_hold")}
      onClose={onClose}
      onSubmit={(event) => {
        event?.preventDefault();
        place.mutate();
      }}
      error={place.error}
      pending={place.isPending}
      disabled={!reason.trim()}
    >
      <Textarea
        label={t("storage.study.reason")}
        required
        data-autofocus
        autosize
        minRows={2}
        maxLength={500}
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
      />
    </Dialog>
  );
}
