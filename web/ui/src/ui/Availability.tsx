import { useTranslation } from "react-i18next";
import { IconAlertTriangle, IconArchive, IconCircleCheck, IconDatabase } from "./icons";

export const AVAILABILITIES = ["ONLINE", "NEARLINE", "OFFLINE", "UNAVAILABLE"] as const;
const ICONS: Readonly<Record<string, typeof IconDatabase>> = {
  ONLINE: IconCircleCheck,
  NEARLINE: IconDatabase,
  OFFLINE: IconArchive,
  UNAVAILABLE: IconAlertTriangle,
};

/** How quickly a study can be had (Instance Availability), by icon and word; compact: the word is only said. */
export function Availability({ of, compact = false }: { of: string; compact?: boolean }) {
  const { t } = useTranslation();
  const word = t(`storage.availability.${of}`, of);
  const Icon = ICONS[of] ?? IconDatabase;
  return (
    <span
      className="availability"
      data-kind={of}
      data-compact={compact || undefined}
      title={
        compact ? `${word}: ${t(`storage.availability_note.${of}`, "")}` : t(`storage.availability_note.${of}`, "")
      }
    >
      <Icon size={compact ? 15 : 13} aria-hidden />
      <span className={compact ? "hidden-title" : undefined}>{word}</span>
    </span>
  );
}
