import { Group, Menu, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { openUrl } from "@/api/client";
import { useSession } from "@/api/session";
import { useDelete } from "@/api/studies";
import type { Series, StudyDetail } from "@/api/types";
import { bytes, whole } from "@/lib/format";
import { mustBeRecalled } from "@/lib/storage";
import { getRouteApi } from "@tanstack/react-router";
import { copy, Empty, IconButton } from "@/ui/bits";
import { IconCopy, IconDotsVertical, IconEye, IconTrash } from "@/ui/icons";
import { Modalities } from "@/ui/Modality";
import { Thumbnail } from "@/ui/Thumbnail";
import { Instances } from "./Instances";

const route = getRouteApi("/inside/study/$study");

/** The series at the left, what is in the chosen one at the right. */
export function SeriesPanel({ study }: { study: StudyDetail }) {
  const { t } = useTranslation();
  const { series: asked } = route.useSearch();
  const navigate = route.useNavigate();
  const chosen = study.series.find((one) => one.series_instance_uid === asked) ?? study.series[0];
  if (!chosen) return <Empty title={t("study.no_series")} />;
  return (
    <div className="series-panel">
      <ul className="series-list" aria-label={t("study.series", { count: study.series.length })}>
        {study.series.map((one) => (
          <SeriesCard
            key={one.series_instance_uid}
            study={study}
            series={one}
            chosen={one === chosen}
            onChoose={() => void navigate({ search: { series: one.series_instance_uid }, replace: true })}
          />
        ))}
      </ul>
      <Instances
        key={chosen.series_instance_uid}
        study={study.study_instance_uid}
        series={chosen.series_instance_uid}
      />
    </div>
  );
}

interface CardProps {
  study: StudyDetail;
  series: Series;
  chosen: boolean;
  onChoose: () => void;
}

function SeriesCard({ study, series, chosen, onChoose }: CardProps) {
  const { t, i18n } = useTranslation();
  const { may } = useSession();
  const remove = useDelete();
  const uid = series.series_instance_uid;
  const title = series.series_description || series.protocol_name || t("study.unnamed_series");
  return (
    <li className="series-card card" data-chosen={chosen || undefined}>
      <button type="button" className="series-choose" aria-pressed={chosen} onClick={onChoose}>
        {may("study.view") && (
          <Thumbnail
            study={study.study_instance_uid}
            series={uid}
            label=""
            size={84}
            away={mustBeRecalled(study.availability)}
          />
        )}
        <span className="series-text">
          <b>{title}</b>
          <Group gap={6} component="span">
            <Modalities of={[series.modality]} />
            {series.series_number && <Text span size="xs" c="dimmed">{`#${series.series_number}`}</Text>}
            {series.body_part_examined && (
              <Text span size="xs" c="dimmed">
                {series.body_part_examined}
              </Text>
            )}
          </Group>
          <Text span size="xs" c="dimmed">
            {t("bulk.images", {
              count: series.number_of_instances,
              shown: whole(series.number_of_instances, i18n.language),
            })}
            {series.size_bytes ? ` · ${bytes(series.size_bytes, i18n.language)}` : ""}
          </Text>
          <Text span size="xs" c="dimmed" className="clip">
            {[series.manufacturer, series.station_name].filter(Boolean).join(" · ")}
          </Text>
        </span>
      </button>
      <Menu position="bottom-end">
        <Menu.Target>
          <IconButton label={t("study.series_menu", { name: title })}>
            <IconDotsVertical size={16} />
          </IconButton>
        </Menu.Target>
        <Menu.Dropdown>
          {may("study.view") && (
            <Menu.Item
              component="a"
              href={openUrl(study, uid)}
              target="_blank"
              rel="noopener"
              leftSection={<IconEye size={15} />}
            >
              {t("open_viewer")}
            </Menu.Item>
          )}
          <Menu.Item leftSection={<IconCopy size={15} />} onClick={() => void copy(uid)}>
            {t("study.copy_series_uid")}
          </Menu.Item>
          {may("study.delete") && (
            <Menu.Item
              color="red"
              leftSection={<IconTrash size={15} />}
              onClick={() =>
                remove(t("study.delete_series"), t("bulk.delete_text", { count: series.number_of_instances }), [
                  `${encodeURIComponent(study.study_instance_uid)}/series/${encodeURIComponent(uid)}`,
                ])
              }
            >
              {t("delete")}
            </Menu.Item>
          )}
        </Menu.Dropdown>
      </Menu>
    </li>
  );
}
