import { Anchor, Button, Group, Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { api, openUrl, Problem } from "@/api/client";
import { useSession } from "@/api/session";
import { archiveUrl, useDelete } from "@/api/studies";
import type { StudyDetail } from "@/api/types";
import { ageAt, clock, fromDicom } from "@/lib/dates";
import { bytes, day, whole } from "@/lib/format";
import { useKeys } from "@/shell/keyboard";
import { Availability } from "@/ui/Availability";
import { CopyButton, Empty, Failure, IconButton, PersonName, Waiting, When } from "@/ui/bits";
import { IconChevronLeft, IconDownload, IconEye, IconShare, IconTrash } from "@/ui/icons";
import { Modalities } from "@/ui/Modality";
import { StudyAudit } from "../audit/StudyAudit";
import { RecallBanner } from "./RecallBanner";
import { SeriesPanel } from "./SeriesPanel";
import { ShareDialog } from "./ShareDialog";
import { StudyShares } from "./StudyShares";
import { StudyStorage } from "./StudyStorage";

const route = getRouteApi("/inside/study/$study");

export function StudyPage() {
  const { study: uid } = route.useParams();
  const { t } = useTranslation();
  const { may } = useSession();
  const navigate = useNavigate();
  const study = useQuery({
    queryKey: ["study", uid],
    queryFn: ({ signal }) => api.get<StudyDetail>(`/studies/${encodeURIComponent(uid)}`, {}, signal),
  });
  useKeys({
    Escape: () => void navigate({ to: "/" }),
    o: () => {
      if (study.data && may("study.view")) window.open(openUrl(study.data), "_blank", "noopener");
    },
  });
  if (study.isPending) return <Waiting />;
  if (study.error instanceof Problem && study.error.status === 404)
    return (
      <Empty title={t("study.gone")}>
        <Anchor component={Link} to="/">
          {t("study.back")}
        </Anchor>
      </Empty>
    );
  if (study.isError) return <Failure error={study.error} retry={() => void study.refetch()} />;
  return <Study study={study.data} />;
}

function Study({ study }: { study: StudyDetail }) {
  const { t } = useTranslation();
  const { may } = useSession();
  const { tab = "series" } = route.useSearch();
  const navigate = route.useNavigate();
  const uid = study.study_instance_uid;
  const seesStorage = may("system.read") || may("storage.write");
  return (
    <div className="page">
      <Head study={study} />
      {study.availability !== "ONLINE" && <RecallBanner study={study} />}
      <Facts study={study} />
      <Tabs
        value={tab}
        onChange={(next) => void navigate({ search: { tab: next ?? undefined } })}
        keepMounted={false}
        mt="md"
      >
        <Tabs.List>
          <Tabs.Tab value="series">{t("study.series", { count: study.series.length })}</Tabs.Tab>
          {seesStorage && <Tabs.Tab value="storage">{t("storage.study.tab")}</Tabs.Tab>}
          {may("study.share") && <Tabs.Tab value="shares">{t("study.shares")}</Tabs.Tab>}
          {may("study.audit") && <Tabs.Tab value="audit">{t("study.audit")}</Tabs.Tab>}
        </Tabs.List>
        <Tabs.Panel value="series" pt="md">
          <SeriesPanel study={study} />
        </Tabs.Panel>
        {seesStorage && (
          <Tabs.Panel value="storage" pt="md">
            <StudyStorage study={study} />
          </Tabs.Panel>
        )}
        <Tabs.Panel value="shares" pt="md">
          <StudyShares study={uid} />
        </Tabs.Panel>
        <Tabs.Panel value="audit" pt="md">
          <div className="card table-card">
            <StudyAudit study={uid} />
          </div>
        </Tabs.Panel>
      </Tabs>
    </div>
  );
}

function Head({ study }: { study: StudyDetail }) {
  const { t, i18n } = useTranslation();
  const { may } = useSession();
  const navigate = useNavigate();
  const remove = useDelete();
  const [sharing, setSharing] = useState(false);
  const uid = study.study_instance_uid;
  const at = fromDicom(study.study_date);
  const age = at && ageAt(study.patient_birth_date, at);
  return (
    <Group className="study-head" justify="space-between" align="flex-start" gap="sm">
      <Group gap="xs" align="flex-start" wrap="nowrap">
        <IconButton label={t("study.back")} size={34} onClick={() => void navigate({ to: "/" })}>
          <IconChevronLeft size={20} />
        </IconButton>
        <div>
          <h1 className="page-title">
            <PersonName value={study.patient_name} />
          </h1>
          <Text size="sm" c="dimmed" component="div">
            {[
              study.patient_id,
              study.patient_sex && t(`sex.${study.patient_sex}`, study.patient_sex),
              day(fromDicom(study.patient_birth_date), i18n.language),
              age !== undefined && t("study.age", { count: age }),
            ]
              .filter(Boolean)
              .join(" · ")}
          </Text>
        </div>
      </Group>
      <Group gap="xs">
        {may("study.view") && (
          <Button
            component="a"
            href={openUrl(study)}
            target="_blank"
            rel="noopener"
            size="sm"
            leftSection={<IconEye size={17} />}
          >
            {t("open_viewer")}
          </Button>
        )}
        {may("study.download") && (
          <Button
            component="a"
            href={archiveUrl(uid)}
            download
            size="sm"
            variant="default"
            leftSection={<IconDownload size={16} />}
          >
            {t("download")}
          </Button>
        )}
        {may("study.share") && (
          <Button size="sm" variant="default" leftSection={<IconShare size={16} />} onClick={() => setSharing(true)}>
            {t("study.share")}
          </Button>
        )}
        {may("study.delete") && (
          <Button
            size="sm"
            variant="light"
            color="red"
            leftSection={<IconTrash size={16} />}
            onClick={() =>
              remove(
                t("bulk.delete_title", { count: 1 }),
                t("bulk.delete_text", { count: study.number_of_instances }),
                [encodeURIComponent(uid)],
                () => void navigate({ to: "/" }),
              )
            }
          >
            {t("delete")}
          </Button>
        )}
      </Group>
      <ShareDialog studies={[uid]} opened={sharing} onClose={() => setSharing(false)} />
    </Group>
  );
}

function Facts({ study }: { study: StudyDetail }) {
  const { t, i18n } = useTranslation();
  const facts: [string, ReactNode][] = [
    [t("column.study_date"), `${day(fromDicom(study.study_date), i18n.language)} ${clock(study.study_time)}`],
    [t("column.modalities"), <Modalities key="m" of={study.modalities} />],
    [t("column.study_description"), study.study_description],
    [
      t("column.accession_number"),
      study.accession_number && <Copied value={study.accession_number} label={t("studies.copy_accession")} />,
    ],
    [
      t("column.referring_physician_name"),
      study.referring_physician_name && <PersonName value={study.referring_physician_name} />,
    ],
    [t("column.institution_name"), study.institution_name],
    [
      t("column.number_of_instances"),
      `${whole(study.number_of_instances, i18n.language)} · ${bytes(study.size_bytes, i18n.language)}`,
    ],
    [t("column.received_at"), <When key="w" at={study.received_at} />],
    [t("column.source"), study.source],
    [t("column.availability"), <Availability key="a" of={study.availability} />],
    [t("column.study_instance_uid"), <Copied key="u" value={study.study_instance_uid} label={t("studies.copy_uid")} />],
  ];
  return (
    <dl className="facts card">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value || <span className="faint">–</span>}</dd>
        </div>
      ))}
    </dl>
  );
}

function Copied({ value, label }: { value: string; label: string }) {
  return (
    <span className="copyable">
      <span className="clip" title={value}>
        {value}
      </span>
      <CopyButton value={value} label={label} />
    </span>
  );
}
