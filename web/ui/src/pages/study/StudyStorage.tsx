import { Button, Group, Tooltip } from "@mantine/core";
import { useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { useSession } from "@/api/session";
import { useStudyStorage } from "@/api/storage";
import type { Study, StudyStorage as Facts } from "@/api/types";
import { bytes } from "@/lib/format";
import { ONLINE, shown } from "@/lib/storage";
import { Availability } from "@/ui/Availability";
import { Failure, Waiting, When } from "@/ui/bits";
import { ListTable } from "@/ui/ListTable";
import { MoveTable } from "../storage/MoveTable";
import { Labels } from "./Labels";
import { LegalHold } from "./LegalHold";
import { MoveDialog, type Way } from "./MoveDialog";
import { useRecall } from "./RecallBanner";

/** Where a study is kept, what keeps it there, and having it moved. */
export function StudyStorage({ study }: { study: Study }) {
  const { t } = useTranslation();
  const uid = study.study_instance_uid;
  const storage = useStudyStorage(uid);
  if (storage.isPending) return <Waiting />;
  if (storage.isError) return <Failure error={storage.error} retry={() => void storage.refetch()} />;
  const facts = storage.data;
  return (
    <>
      <section className="card section" aria-label={t("storage.study.tab")}>
        <Orders study={uid} facts={facts} />
        <Places facts={facts} />
      </section>
      <div className="halves cards">
        <LegalHold study={uid} hold={facts.hold} />
        <Labels
          key={`${facts.labels.join()} ${facts.workflow_state} ${facts.patient_class}`}
          study={uid}
          facts={facts}
        />
      </div>
      {facts.copies.length > 0 && <Copies facts={facts} />}
      <MoveTable
        title={t("storage.study.moves")}
        moves={facts.moves.map(shown)}
        none={t("storage.study.no_moves")}
        ofStudy
      />
    </>
  );
}

function Orders({ study, facts }: { study: string; facts: Facts }) {
  const { t } = useTranslation();
  const { may } = useSession();
  const order = useRecall(study);
  const [way, setWay] = useState<Way>();
  const held = facts.hold !== null;
  return (
    <div className="section-head">
      <h2>{t("storage.study.tab")}</h2>
      <Group gap="xs" ml="auto">
        {may("study.view") && facts.online < facts.instances && (
          <Button size="xs" loading={order.isPending} onClick={() => order.mutate()}>
            {t("storage.study.recall")}
          </Button>
        )}
        {may("storage.write") && (
          <>
            <Button size="xs" variant="default" onClick={() => setWay("copy")}>
              {t("storage.study.copy_to")}
            </Button>
            {(["move", "remove"] as const).map((one) => (
              <Tooltip key={one} label={t("storage.study.held")} disabled={!held}>
                <Button
                  size="xs"
                  variant="default"
                  data-disabled={held || undefined}
                  aria-disabled={held}
                  onClick={() => !held && setWay(one)}
                >
                  {t(one === "move" ? "storage.study.move_to" : "storage.study.remove_from")}
                </Button>
              </Tooltip>
            ))}
          </>
        )}
      </Group>
      {way && <MoveDialog study={study} facts={facts} way={way} onClose={() => setWay(undefined)} />}
    </div>
  );
}

function Places({ facts }: { facts: Facts }) {
  const { t } = useTranslation();
  const told: [string, ReactNode][] = [
    [t("storage.study.availability"), <Availability key="a" of={facts.availability} />],
    [t("storage.study.in_online"), t("storage.study.online_part", { online: facts.online, count: facts.instances })],
    [t("storage.study.accessed"), <When key="u" at={facts.accessed_at} />],
    [t("storage.study.recalled"), <When key="r" at={facts.recalled_at} />],
  ];
  return (
    <dl className="facts plain-facts">
      {told.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Copies({ facts }: { facts: Facts }) {
  const { t, i18n } = useTranslation();
  return (
    <section>
      <h2 className="section-title">{t("storage.study.copies")}</h2>
      <ListTable
        label={t("storage.study.copies")}
        items={facts.copies}
        rowKey={(copy) => copy.store}
        columns={[
          {
            title: t("storage.store"),
            cell: (copy) => <b>{copy.store === ONLINE ? t("storage.online") : copy.store}</b>,
          },
          { title: t("storage.tier"), cell: (copy) => t(`storage.tiers.${copy.tier}`, copy.tier) },
          {
            title: t("storage.images"),
            cell: (copy) =>
              copy.instances === facts.instances ? (
                <span className="good">{t("storage.study.complete")}</span>
              ) : (
                <span className="warn">
                  {t("storage.study.partial", { there: copy.instances, count: facts.instances })}
                </span>
              ),
          },
          { title: t("storage.size"), numeric: true, cell: (copy) => bytes(copy.size_bytes, i18n.language) },
        ]}
      />
    </section>
  );
}
