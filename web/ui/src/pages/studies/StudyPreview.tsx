import { HoverCard, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import type { StudyDetail } from "@/api/types";
import { mustBeRecalled } from "@/lib/storage";
import { Waiting } from "@/ui/bits";
import { IconPhoto } from "@/ui/icons";
import { Thumbnail } from "@/ui/Thumbnail";

const MOST = 6;

/** A look at a study's series without starting the viewer. */
export function StudyPreview({ study, label }: { study: string; label: string }) {
  const [open, setOpen] = useState(false);
  return (
    <HoverCard
      openDelay={250}
      closeDelay={120}
      position="right"
      withArrow
      shadow="lg"
      onOpen={() => setOpen(true)}
      onClose={() => setOpen(false)}
    >
      <HoverCard.Target>
        <button type="button" className="icon-link" aria-label={label}>
          <IconPhoto size={17} />
        </button>
      </HoverCard.Target>
      <HoverCard.Dropdown p="xs">{open && <SeriesStrip study={study} />}</HoverCard.Dropdown>
    </HoverCard>
  );
}

function SeriesStrip({ study }: { study: string }) {
  const { t } = useTranslation();
  const detail = useQuery({
    queryKey: ["study", study],
    queryFn: ({ signal }) => api.get<StudyDetail>(`/studies/${study}`, {}, signal),
    staleTime: 30_000,
  });
  if (detail.isPending) return <Waiting />;
  const series = detail.data?.series ?? [];
  if (detail.data && mustBeRecalled(detail.data.availability))
    return <Text size="sm">{t("storage.study.preview")}</Text>;
  if (!series.length) return <Text size="sm">{t("study.no_series")}</Text>;
  return (
    <>
      <div className="strip">
        {series.slice(0, MOST).map((one) => (
          <figure key={one.series_instance_uid}>
            <Thumbnail study={study} series={one.series_instance_uid} label={one.series_description || one.modality} />
            <figcaption>
              <b>{one.modality}</b> <span>{one.series_description || one.series_number}</span>
            </figcaption>
          </figure>
        ))}
      </div>
      {series.length > MOST && (
        <Text size="xs" c="dimmed" mt={4}>
          {t("studies.more_series", { count: series.length - MOST })}
        </Text>
      )}
    </>
  );
}
