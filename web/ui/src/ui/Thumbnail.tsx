import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { address, api, dicomweb } from "@/api/client";
import type { Instance, Page } from "@/api/types";
import { cineFrames } from "@/lib/cine";
import { IconFileText } from "./icons";

const FRAME_MS = 120;
const MOST_FRAMES = 48;

interface Props {
  study: string;
  series: string;
  label: string;
  cine?: boolean;
  size?: number;
}

/** A series as a small picture that plays while it is pointed at. What has no picture shows a sheet of paper. */
export function Thumbnail({ study, series, label, cine = true, size = 112 }: Props) {
  const [playing, setPlaying] = useState(false);
  const [missing, setMissing] = useState(false);
  const still = `${dicomweb("studies", study, "series", series, "thumbnail")}?viewport=256,256`;
  if (missing)
    return (
      <span className="thumbnail" data-missing style={{ width: size, height: size }} role="img" aria-label={label}>
        <IconFileText size={28} stroke={1.3} aria-hidden />
      </span>
    );
  return (
    <span
      className="thumbnail"
      style={{ width: size, height: size }}
      onPointerEnter={() => setPlaying(cine)}
      onPointerLeave={() => setPlaying(false)}
    >
      <img src={still} alt={label} loading="lazy" draggable={false} onError={() => setMissing(true)} />
      {playing && <Cine study={study} series={series} />}
    </span>
  );
}

function Cine({ study, series }: { study: string; series: string }) {
  const { t } = useTranslation();
  const instances = useQuery({
    queryKey: ["instances", study, series],
    queryFn: ({ signal }) =>
      api.get<Page<Instance>>(
        `/studies/${study}/series/${series}/instances`,
        { limit: 500, sort: "instance_number" },
        signal,
      ),
    staleTime: 60_000,
  });
  const frames = cineFrames(instances.data?.items ?? [], MOST_FRAMES);
  const count = frames.length;
  const [at, setAt] = useState(0);
  useEffect(() => {
    if (count < 2 || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const timer = setInterval(() => setAt((before) => (before + 1) % count), FRAME_MS);
    return () => clearInterval(timer);
  }, [count]);
  if (count < 2) return null;
  const url = (index: number) => {
    const frame = frames[index % count];
    if (!frame) return "";
    const path = dicomweb(
      "studies",
      study,
      "series",
      series,
      "instances",
      frame.instance,
      "frames",
      frame.frame,
      "rendered",
    );
    return address(path, { viewport: "256,256" });
  };
  return (
    <>
      <img className="cine" src={url(at)} alt="" draggable={false} />
      <img className="cine-next" src={url(at + 1)} alt="" aria-hidden />
      <span className="cine-count" aria-label={t("study.frame", { at: at + 1, count })}>
        {at + 1}/{count}
      </span>
    </>
  );
}
