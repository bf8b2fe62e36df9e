import { useTranslation } from "react-i18next";
import { useMoves } from "@/api/storage";
import { whole } from "@/lib/format";
import { Empty, Failure, Waiting } from "@/ui/bits";
import { IconArrowRight } from "@/ui/icons";
import { MoveTable } from "./MoveTable";

/** What is on its way between stores, as it goes. */
export function MovesPage() {
  const { t, i18n } = useTranslation();
  const { moves, error } = useMoves();
  if (error) return <Failure error={error} />;
  if (!moves) return <Waiting />;
  const waiting = moves.counts["waiting"] ?? moves.waiting.length;
  if (!moves.running.length && !moves.waiting.length && !moves.ended.length)
    return (
      <div className="card">
        <Empty icon={<IconArrowRight size={32} stroke={1.3} />} title={t("storage.move.nothing")}>
          {t("storage.move.nothing_note")}
        </Empty>
      </div>
    );
  return (
    <>
      <MoveTable title={t("storage.move.running")} moves={moves.running} none={t("storage.move.nothing")} />
      {moves.waiting.length > 0 && (
        <MoveTable
          title={t("storage.move.waiting")}
          note={t("storage.move.more_wait", { count: waiting, shown: whole(waiting, i18n.language) })}
          moves={moves.waiting}
        />
      )}
      {moves.ended.length > 0 && <MoveTable title={t("storage.move.ended")} moves={moves.ended} />}
    </>
  );
}
