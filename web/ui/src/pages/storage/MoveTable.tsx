import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { useSession } from "@/api/session";
import { cancelMove, orderMove } from "@/api/storage";
import { bytes } from "@/lib/format";
import { isUnderWay, kindOf, type ShownMove } from "@/lib/storage";
import { IconButton, useTell, When } from "@/ui/bits";
import { IconRefresh, IconX } from "@/ui/icons";
import { ListTable, type ListColumn } from "@/ui/ListTable";
import { Progress } from "@/ui/Progress";
import { State } from "@/ui/State";
import { useStoreName } from "./RuleText";
import { StudyName } from "./StudyName";

interface Props {
  title: string;
  moves: readonly ShownMove[];
  note?: string;
  none?: string;
  /** Of one study: then its name is left out. */
  ofStudy?: boolean;
}

export function MoveTable({ title, moves, note, none, ofStudy = false }: Props) {
  const { t } = useTranslation();
  const { may } = useSession();
  const columns: ListColumn<ShownMove>[] = [
    ...(ofStudy
      ? []
      : [
          {
            title: t("storage.move.study"),
            cell: (move: ShownMove) => <StudyName study={move.study_instance_uid} />,
          },
        ]),
    { title: t("storage.move.what"), cell: (move) => <What move={move} /> },
    {
      title: t("storage.state"),
      className: "wrapped",
      cell: (move) => (
        <>
          <State state={move.state} label={t(`storage.move.states.${move.state}`)} />
          {move.attempts > 1 && (
            <span className="faint"> · {t("storage.move.attempts", { count: move.attempts })}</span>
          )}
          {move.problem && <div className="warn small">{move.problem}</div>}
        </>
      ),
    },
    { title: t("storage.move.progress"), cell: (move) => <HowFar move={move} /> },
    { title: t("storage.move.why"), cell: (move) => <Why move={move} /> },
    { title: t("storage.move.priority"), numeric: true, cell: (move) => move.priority },
    {
      title: t("storage.move.at"),
      cell: (move) => <When at={move.ended_at || move.begun_at || move.asked_at} />,
    },
  ];
  return (
    <section>
      <div className="section-head">
        <h2>{title}</h2>
        {note && <span className="faint">{note}</span>}
      </div>
      {moves.length ? (
        <ListTable
          label={title}
          items={moves}
          rowKey={(move) => move.id}
          columns={columns}
          actions={may("storage.write") ? (move) => <MoveActions move={move} /> : undefined}
        />
      ) : (
        <p className="lead">{none}</p>
      )}
    </section>
  );
}

function What({ move }: { move: ShownMove }) {
  const { t } = useTranslation();
  const name = useStoreName();
  return (
    <>
      {t(`storage.move.${kindOf(move)}`, { from: name(move.from_store), to: name(move.to_store) })}
      {move.form !== "plain" && <span className="faint"> · {move.form}</span>}
    </>
  );
}

function Why({ move }: { move: ShownMove }) {
  const { t } = useTranslation();
  const known = ["asked for", "retrieval", "cache limit", "prefetch"].includes(move.why);
  return <>{known ? t(`storage.move.whys.${move.why}`, { who: move.asked_by }) : move.why}</>;
}

export function HowFar({ move }: { move: ShownMove }) {
  const { t, i18n } = useTranslation();
  if (!move.instances) return <span className="faint">–</span>;
  return (
    <span className="how-far">
      <Progress
        done={move.done}
        of={move.instances}
        label={t("storage.move.progress_of", { study: move.study_instance_uid })}
      />
      <span className="faint">
        {t("storage.move.images", { done: move.done, count: move.instances })} · {bytes(move.done_bytes, i18n.language)}
      </span>
    </span>
  );
}

function MoveActions({ move }: { move: ShownMove }) {
  const { t } = useTranslation();
  const tell = useTell();
  const client = useQueryClient();
  const study = move.study_instance_uid;
  const settled = () =>
    Promise.all([
      client.invalidateQueries({ queryKey: ["moves"] }),
      client.invalidateQueries({ queryKey: ["study-storage", study] }),
    ]);
  const cancel = useMutation({ mutationFn: () => cancelMove(move.id), onSettled: settled, onError: tell.failed });
  const again = useMutation({ mutationFn: () => orderMove(move), onSettled: settled, onError: tell.failed });
  if (isUnderWay(move))
    return (
      <IconButton
        label={t("storage.move.cancel_of", { study })}
        loading={cancel.isPending}
        onClick={() => cancel.mutate()}
      >
        <IconX size={16} />
      </IconButton>
    );
  if (move.state !== "failed") return null;
  return (
    <IconButton label={t("storage.move.again_of", { study })} loading={again.isPending} onClick={() => again.mutate()}>
      <IconRefresh size={16} />
    </IconButton>
  );
}
