import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { address, api, dicomweb } from "@/api/client";
import type { Instance, Page } from "@/api/types";
import { cineFrames } from "@/lib/cine";
import { IconFileText, IconHourglass } from "./icons";

const FRAME_MS = 120;
const MOST_FRAMES = 48;
const MOST_ATTEMPTS = 20;
const LEAST_WAIT_S = 2;
const MOST_WAIT_S = 30;

interface Props {
  study: string;
  series: string;
  label: string;
  cine?: boolean;
  size?: number;
  /** It is in the archive: nothing is asked for until it is back. */
  away?: boolean;
}

/** A series as a small picture that plays while it is pointed at. What has no picture shows a sheet of paper, what is on its way an hourglass. */
export function Thumbnail({ study, series, label, cine = true, size = 112, away = false }: Props) {
  const [playing, setPlaying] = useState(false);
  const still = `${dicomweb("studies", study, "series", series, "thumbnail")}?viewport=256,256`;
  const { state, attempt, failed } = useAttempts(still);
  if (away || state !== "shown") {
    const Icon = away || state === "waits" ? IconHourglass : IconFileText;
    return (
      <span
        className="thumbnail"
        data-missing
        style={{ width: size, height: size }}
        {...(label && { role: "img", "aria-label": label })}
      >
        <Icon size={28} stroke={1.3} aria-hidden />
      </span>
    );
  }
  return (
    <span
      className="thumbnail"
      style={{ width: size, height: size }}
      onPointerEnter={() => setPlaying(cine)}
      onPointerLeave={() => setPlaying(false)}
    >
      <img key={attempt} src={still} alt={label} loading="lazy" draggable={false} onError={() => void failed()} />
      {playing && <Cine study={study} series={series} />}
    </span>
  );
}

/** A picture that does not come may be on its way from a slow store (503): it is asked for again, but not for ever. */
function useAttempts(url: string) {
  const [state, setState] = useState<"shown" | "waits" | "missing">("shown");
  const [attempt, setAttempt] = useState(0);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const failed = async () => {
    const answer = await fetch(url, { credentials: "same-origin" }).catch(() => undefined);
    if (answer?.status !== 503 || attempt >= MOST_ATTEMPTS) {
      setState("missing");
      return;
    }
    setState("waits");
    const wait = Math.min(MOST_WAIT_S, Math.max(LEAST_WAIT_S, Number(answer.headers.get("Retry-After")) || 0));
    timer.current = setTimeout(() => {
      setAttempt((before) => before + 1);
      setState("shown");
    }, wait * 1000);
  };
  return { state, attempt, failed };
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
