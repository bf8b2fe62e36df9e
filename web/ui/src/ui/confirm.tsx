import { modals } from "@mantine/modals";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { useTell } from "./bits";

/** Asks before something is done that cannot be taken back with a click. */
export function useConfirm() {
  const { t } = useTranslation();
  const tell = useTell();
  return (title: string, text: ReactNode, label: string, action: () => Promise<unknown>) =>
    modals.openConfirmModal({
      title,
      children: text,
      labels: { confirm: label, cancel: t("cancel") },
      confirmProps: { color: "red" },
      closeButtonProps: { "aria-label": t("close") },
      onConfirm: () => void action().catch(tell.failed),
    });
}
