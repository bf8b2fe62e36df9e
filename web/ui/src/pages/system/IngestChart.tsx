import { useMantineColorScheme } from "@mantine/core";
import { LineChart } from "echarts/charts";
import { AriaComponent, GridComponent, TooltipComponent } from "echarts/components";
import { init, use as register, type EChartsType } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";
import { bytes } from "@/lib/format";
import type { Sample } from "@/lib/rates";

register([LineChart, GridComponent, TooltipComponent, AriaComponent, CanvasRenderer]);

const SHOWN_S = 300;
/** Where nothing comes, the scale stays a sensible one. */
const IDLE_IMAGES = 10;
const IDLE_BYTES = 1_000_000;
const atLeast =
  (least: number) =>
  ({ max }: { max: number }) =>
    max > least ? null : least;

interface Props {
  samples: readonly Sample[];
  label: string;
  names: [string, string];
  language: string;
}

/** Images and bytes a second over the last minutes. */
export default function IngestChart({ samples, label, names, language }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType>(undefined);
  const dark = useMantineColorScheme().colorScheme === "dark";
  useEffect(() => {
    if (!place.current) return;
    const made = (chart.current = init(place.current, null, { renderer: "canvas" }));
    const resized = new ResizeObserver(() => made.resize());
    resized.observe(place.current);
    return () => {
      resized.disconnect();
      made.dispose();
    };
  }, []);
  const [instances, volume] = names;
  useEffect(() => {
    const ink = dark ? "#97a2af" : "#5b6776";
    const end = samples.at(-1)?.at ?? Date.now() / 1000;
    const line = dark ? "#2a3440" : "#d9dfe6";
    const axis = {
      axisLabel: { color: ink, fontSize: 11 },
      axisLine: { lineStyle: { color: line } },
      splitLine: { lineStyle: { color: line } },
    };
    chart.current?.setOption({
      animation: false,
      // The usual tooltip is HTML with styles of its own, which the page's policy forbids.
      tooltip: { trigger: "axis", renderMode: "richText", confine: true },
      grid: { left: 8, right: 8, top: 12, bottom: 4, containLabel: true },
      xAxis: {
        type: "time",
        // The last minutes, from the first look on: a time axis without data would show days.
        min: (end - SHOWN_S) * 1000,
        max: end * 1000,
        ...axis,
        splitLine: { show: false },
        axisLabel: { ...axis.axisLabel, formatter: "{HH}:{mm}", hideOverlap: true },
      },
      yAxis: [
        { type: "value", min: 0, max: atLeast(IDLE_IMAGES), minInterval: 1, ...axis },
        {
          type: "value",
          min: 0,
          max: atLeast(IDLE_BYTES),
          ...axis,
          splitLine: { show: false },
          axisLabel: { ...axis.axisLabel, formatter: (value: number) => bytes(value, language) },
        },
      ],
      series: [
        {
          name: instances,
          type: "line",
          showSymbol: false,
          smooth: 0.2,
          lineStyle: { width: 2 },
          color: dark ? "#68c2d0" : "#0b7285",
          areaStyle: { opacity: 0.15 },
          data: samples.map((sample) => [sample.at * 1000, Math.round(sample.instancesPerSecond * 10) / 10]),
        },
        {
          name: volume,
          type: "line",
          yAxisIndex: 1,
          showSymbol: false,
          smooth: 0.2,
          lineStyle: { width: 1.5, type: "dashed" },
          color: dark ? "#f2b45c" : "#96560a",
          tooltip: { valueFormatter: (value: unknown) => `${bytes(Number(value), language)}/s` },
          data: samples.map((sample) => [sample.at * 1000, Math.round(sample.bytesPerSecond)]),
        },
      ],
    });
  }, [samples, dark, instances, volume, language]);
  return <div ref={place} className="chart" role="img" aria-label={label} />;
}
