import { Button, Menu } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useSession } from "@/api/session";
import type { Backup, BackupSchedule, Page } from "@/api/types";
import { bytes, duration, whole } from "@/lib/format";
import { Empty, Failure, useTell, Waiting, When } from "@/ui/bits";
import { IconArchive, IconChevronDown, IconCircleCheck, IconLock } from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";
import { State } from "@/ui/State";
import { Tiles, type Tile } from "@/ui/Tiles";

const PATH = "/backups";
const KINDS = ["full", "incremental", "differential"] as const;
const RUNNING_MS = 2_000;
const QUIET_MS = 30_000;

/** Backups that were made, and having one made. */
export function BackupsPage() {
  const { t } = useTranslation();
  const { may } = useSession();
  const tell = useTell();
  const client = useQueryClient();
  const backups = useQuery({
    queryKey: ["backups"],
    queryFn: async ({ signal }) => {
      const [list, schedule] = await Promise.all([
        api.get<Page<Backup>>(PATH, { limit: 200 }, signal),
        api.get<BackupSchedule>(`${PATH}/schedule`, {}, signal),
      ]);
      return { items: list.items, schedule };
    },
    refetchInterval: ({ state: { data } }) => (data?.items.some(isUnderWay) ? RUNNING_MS : QUIET_MS),
  });
  const begin = useMutation({
    mutationFn: (kind: string) => api.post(PATH, { kind }),
    onSuccess: async () => {
      tell.done(t("storage.backup.asked"));
      await client.invalidateQueries({ queryKey: ["backups"] });
    },
    onError: tell.failed,
  });
  if (backups.isPending) return <Waiting />;
  if (backups.isError) return <Failure error={backups.error} retry={() => void backups.refetch()} />;
  const { items, schedule } = backups.data;
  return (
    <section>
      <div className="section-head">
        <p className="lead grow">
          {t("storage.backup.note")} {schedule.place && t("storage.backup.to", { place: schedule.place })}
        </p>
        {may("storage.write") && schedule.place !== null && (
          <Menu position="bottom-end">
            <Menu.Target>
              <Button
                loading={begin.isPending}
                disabled={items.some(isUnderWay)}
                rightSection={<IconChevronDown size={15} />}
              >
                {t("storage.backup.now")}
              </Button>
            </Menu.Target>
            <Menu.Dropdown>
              {KINDS.map((kind) => (
                <Menu.Item key={kind} onClick={() => begin.mutate(kind)}>
                  {t(`storage.backup.kinds.${kind}`)}{" "}
                  <span className="faint">{t(`storage.backup.kind_notes.${kind}`)}</span>
                </Menu.Item>
              ))}
            </Menu.Dropdown>
          </Menu>
        )}
      </div>
      {schedule.restored && <RestoredFrom restored={schedule.restored} />}
      {schedule.place !== null && <Schedule schedule={schedule} last={items.find(({ state }) => state === "done")} />}
      {items.length === 0 ? (
        <div className="card">
          <Empty
            icon={<IconArchive size={32} stroke={1.3} />}
            title={t(schedule.place === null ? "storage.backup.nowhere" : "storage.backup.none")}
          >
            {schedule.place === null && t("storage.backup.nowhere_note")}
          </Empty>
        </div>
      ) : (
        <Table items={items} />
      )}
    </section>
  );
}

function isUnderWay({ state }: Backup): boolean {
  return state === "waiting" || state === "running";
}

/** That this is not the archive that its backups were made of, but one that came out of them. */
function RestoredFrom({ restored }: { restored: NonNullable<BackupSchedule["restored"]> }) {
  const { t } = useTranslation();
  return (
    <div className="card banner" role="status">
      <IconArchive size={20} stroke={1.5} aria-hidden />
      <b>{t("storage.backup.restored")}</b>
      <span className="grow">
        {t("storage.backup.restored_note", { count: restored.instances, who: restored.who })}{" "}
        <span className="mono">{restored.backup}</span> · <When at={restored.at} />
      </span>
    </div>
  );
}

function Schedule({ schedule, last }: { schedule: BackupSchedule; last: Backup | undefined }) {
  const { t } = useTranslation();
  const tiles: Tile[] = [
    [
      t("storage.backup.next"),
      <When key="next" at={schedule.next_at} />,
      schedule.next_kind && t(`storage.backup.kinds.${schedule.next_kind}`),
    ],
    [
      t("storage.backup.last"),
      last ? <When key="last" at={last.ended_at} /> : t("storage.backup.no_last"),
      last && t(`storage.backup.kinds.${last.kind}`, last.kind),
    ],
    [
      t("storage.backup.kind"),
      t("storage.backup.full_every", { count: schedule.full_every_days }),
      [
        schedule.keep_full ? t("storage.backup.keep", { count: schedule.keep_full }) : t("storage.backup.keep_all"),
        schedule.encrypted && t("storage.backup.encrypted"),
      ]
        .filter(Boolean)
        .join(" · "),
    ],
  ];
  return <Tiles of={tiles} />;
}

function Table({ items }: { items: readonly Backup[] }) {
  const { t, i18n } = useTranslation();
  return (
    <ListTable
      label={t("storage.backups")}
      items={items}
      rowKey={(one) => one.id}
      columns={[
        { title: t("storage.backup.kind"), cell: (one) => <b>{t(`storage.backup.kinds.${one.kind}`, one.kind)}</b> },
        {
          title: t("storage.state"),
          className: "wrapped",
          cell: (one) => (
            <>
              <State state={one.state} label={t(`storage.backup.states.${one.state}`, one.state)} />
              {one.problem && <div className="warn small">{one.problem}</div>}
            </>
          ),
        },
        { title: t("storage.backup.began"), cell: (one) => <When at={one.began_at ?? one.asked_at} /> },
        { title: t("storage.backup.took"), numeric: true, cell: (one) => took(one) },
        {
          title: t("storage.backup.objects"),
          numeric: true,
          cell: (one) => whole(one.objects, i18n.language),
        },
        {
          title: t("storage.backup.size"),
          numeric: true,
          cell: (one) => (one.state === "done" ? bytes(one.stored_bytes, i18n.language) : "–"),
        },
        { title: t("storage.backup.verified"), cell: (one) => <Verified backup={one} /> },
        { title: t("storage.backup.by"), cell: (one) => one.asked_by || t("storage.backup.by_itself") },
        {
          title: t("storage.backup.name"),
          cell: (one) => (
            <span className="mono clip uid" title={[one.place, one.name].join("/")}>
              {one.name || "–"}
            </span>
          ),
        },
      ]}
    />
  );
}

function took({ began_at, ended_at }: Backup): string {
  return began_at && ended_at ? duration((Date.parse(ended_at) - Date.parse(began_at)) / 1000) : "–";
}

function Verified({ backup }: { backup: Backup }) {
  const { t } = useTranslation();
  if (backup.state !== "done") return <span className="faint">–</span>;
  return (
    <span className="badges">
      {backup.verified ? (
        <span className="state" data-tone="good">
          <IconCircleCheck size={15} aria-hidden /> {t("storage.backup.is_verified")}
        </span>
      ) : (
        <span className="warn">{t("storage.backup.not_verified")}</span>
      )}
      {backup.encrypted && <IconLock size={15} role="img" aria-label={t("storage.backup.encrypted")} />}
      {backup.damaged > 0 && <span className="warn">{t("storage.backup.damaged", { count: backup.damaged })}</span>}
    </span>
  );
}
