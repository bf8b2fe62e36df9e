import { BarChart as Bars } from "echarts/charts";
import { use as register } from "echarts/core";
import { useEffect } from "react";
import { bytes } from "@/lib/format";
import { TOOLTIP, useChart } from "@/ui/chart";

register([Bars]);

export interface Bar {
  name: string;
  bytes: number;
}

interface Props {
  bars: readonly Bar[];
  label: string;
  language: string;
  /** Names at the left, the first at the top; else along the bottom. */
  lying?: boolean;
}

/** How large some things are. */
export default function BarChart({ bars, label, language, lying = false }: Props) {
  const { place, chart, colours } = useChart();
  useEffect(() => {
    const { ink, line } = colours;
    const size = (value: unknown) => bytes(Number(value), language);
    const names = {
      type: "category" as const,
      data: bars.map((bar) => bar.name),
      inverse: lying,
      axisLabel: { color: ink, fontSize: 11, hideOverlap: true, width: 96, overflow: "truncate" as const },
      axisLine: { lineStyle: { color: line } },
      axisTick: { show: false },
    };
    const values = {
      type: "value" as const,
      splitNumber: lying ? 3 : 4,
      axisLabel: { color: ink, fontSize: 11, hideOverlap: true, formatter: size },
      splitLine: { lineStyle: { color: line } },
    };
    chart.current?.setOption(
      {
        animation: false,
        tooltip: { ...TOOLTIP, axisPointer: { type: "shadow" }, valueFormatter: size },
        grid: { left: 8, right: 20, top: 12, bottom: 4, containLabel: true },
        xAxis: lying ? values : names,
        yAxis: lying ? names : values,
        series: [
          {
            type: "bar",
            name: label,
            color: colours.first,
            barMaxWidth: 22,
            barMinWidth: 2,
            itemStyle: { borderRadius: lying ? [0, 3, 3, 0] : [3, 3, 0, 0] },
            data: bars.map((bar) => bar.bytes),
          },
        ],
      },
      { notMerge: true },
    );
  }, [bars, chart, colours, label, language, lying]);
  return <div ref={place} className="chart" role="img" aria-label={label} />;
}
