import { useMantineColorScheme } from "@mantine/core";
import { BarChart as Bars } from "echarts/charts";
import { AriaComponent, GridComponent, TooltipComponent } from "echarts/components";
import { init, use as register, type EChartsType } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";
import { bytes } from "@/lib/format";

register([Bars, GridComponent, TooltipComponent, AriaComponent, CanvasRenderer]);

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
  useEffect(() => {
    const ink = dark ? "#97a2af" : "#5b6776";
    const line = dark ? "#2a3440" : "#d9dfe6";
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
        // The usual tooltip is HTML with styles of its own, which the page's policy forbids.
        tooltip: { trigger: "axis", axisPointer: { type: "shadow" }, renderMode: "richText", confine: true, valueFormatter: size }, // prettier-ignore
        grid: { left: 8, right: 20, top: 12, bottom: 4, containLabel: true },
        xAxis: lying ? values : names,
        yAxis: lying ? names : values,
        series: [
          {
            type: "bar",
            name: label,
            color: dark ? "#68c2d0" : "#0b7285",
            barMaxWidth: 22,
            barMinWidth: 2,
            itemStyle: { borderRadius: lying ? [0, 3, 3, 0] : [3, 3, 0, 0] },
            data: bars.map((bar) => bar.bytes),
          },
        ],
      },
      { notMerge: true },
    );
  }, [bars, dark, label, language, lying]);
  return <div ref={place} className="chart" role="img" aria-label={label} />;
}
