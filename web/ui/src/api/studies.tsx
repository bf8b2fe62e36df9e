/** What is done to studies, from wherever it is done. */

import { Button } from "@mantine/core";
import { modals } from "@mantine/modals";
import { notifications } from "@mantine/notifications";
import { useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { useTell } from "@/ui/bits";
import { api, send } from "./client";
import type { Deletion, PendingDeletion } from "./types";

const UNDO_SHOWN_MS = 20_000;

export function archiveUrl(study: string): string {
  return `/api/v1/studies/${encodeURIComponent(study)}/archive`;
}

interface FilePicker {
  showSaveFilePicker?: (options: object) => Promise<{ createWritable: () => Promise<WritableStream> }>;
}

/** Downloads studies as one zip; straight to the disk where the browser can, so that size does not matter. */
export async function downloadArchive(studies: readonly string[]): Promise<void> {
  const name = "studies.zip";
  const ask = () =>
    send("/api/v1/archive", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ studies }),
    });
  const picker = (window as FilePicker).showSaveFilePicker;
  if (picker && window.isSecureContext) {
    const file = await picker({ suggestedName: name }).catch(() => undefined);
    if (!file) return;
    const answer = await ask();
    await answer.body?.pipeTo(await file.createWritable());
    return;
  }
  const blob = await (await ask()).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Asks, deletes, and offers to take it back. `path` is below /studies. */
export function useDelete() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const tell = useTell();

  const undo = async (deletions: readonly Deletion[], id: string) => {
    notifications.hide(id);
    try {
      let lost = 0;
      for (const { deletion } of deletions)
        lost += (await api.post<PendingDeletion>(`/deletions/${encodeURIComponent(deletion)}/undo`)).lost;
      if (lost) tell.warn(t("deletion.lost", { count: lost }));
      else tell.done(t("deletion.undone"));
    } catch (error) {
      tell.failed(error);
    }
    await client.invalidateQueries();
  };

  const run = async (paths: readonly string[]): Promise<boolean> => {
    const done: Deletion[] = [];
    let failure: unknown;
    for (const path of paths) {
      try {
        done.push(await api.delete<Deletion>(`/studies/${path}`));
      } catch (error) {
        failure = error;
        break;
      }
    }
    if (done.length) {
      const id = `deleted ${String(done[0]?.deletion)}`;
      const count = done.reduce((sum, deletion) => sum + deletion.instances, 0);
      notifications.show({
        id,
        color: "orange",
        autoClose: UNDO_SHOWN_MS,
        closeButtonProps: { "aria-label": t("close") },
        title: t("deletion.done", { count }),
        message: (
          <Button size="compact-sm" variant="light" onClick={() => void undo(done, id)}>
            {t("deletion.undo")}
          </Button>
        ),
      });
    }
    if (failure) tell.failed(failure);
    await client.invalidateQueries();
    return failure === undefined;
  };

  return (title: string, text: string, paths: readonly string[], onDone?: () => void) =>
    modals.openConfirmModal({
      title,
      children: text,
      labels: { confirm: t("delete"), cancel: t("cancel") },
      confirmProps: { color: "red" },
      closeButtonProps: { "aria-label": t("close") },
      onConfirm: () => void run(paths).then((all) => all && onDone?.()),
    });
}
