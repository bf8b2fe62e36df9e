import { LineChart } from "echarts/charts";
import { use as register } from "echarts/core";
import { useEffect } from "react";
import { bytes } from "@/lib/format";
import type { Sample } from "@/lib/rates";
import { TOOLTIP, useChart } from "@/ui/chart";

register([LineChart]);

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
  const { place, chart, colours } = useChart();
  const [instances, volume] = names;
  useEffect(() => {
    const { ink, line } = colours;
    const end = samples.at(-1)?.at ?? Date.now() / 1000;
    const axis = {
      axisLabel: { color: ink, fontSize: 11 },
      axisLine: { lineStyle: { color: line } },
      splitLine: { lineStyle: { color: line } },
    };
    chart.current?.setOption({
      animation: false,
      tooltip: TOOLTIP,
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
          color: colours.first,
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
          color: colours.second,
          tooltip: { valueFormatter: (value: unknown) => `${bytes(Number(value), language)}/s` },
          data: samples.map((sample) => [sample.at * 1000, Math.round(sample.bytesPerSecond)]),
        },
      ],
    });
  }, [samples, chart, colours, instances, volume, language]);
  return <div ref={place} className="chart" role="img" aria-label={label} />;
}
