import { useMantineColorScheme } from "@mantine/core";
import { AriaComponent, GridComponent, TooltipComponent } from "echarts/components";
import { init, use as register, type EChartsType } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";

register([GridComponent, TooltipComponent, AriaComponent, CanvasRenderer]);

/** Colours of a chart: text, lines, the first and the second thing drawn. */
const LIGHT = { ink: "#5b6776", line: "#d9dfe6", first: "#0b7285", second: "#96560a" };
const DARK = { ink: "#97a2af", line: "#2a3440", first: "#68c2d0", second: "#f2b45c" };

/** The usual tooltip is HTML with styles of its own, which the page's policy forbids. */
export const TOOLTIP = { trigger: "axis", renderMode: "richText", confine: true } as const;

/** A chart as large as its place, for as long as that is shown. */
export function useChart() {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType>(undefined);
  const colours = useMantineColorScheme().colorScheme === "dark" ? DARK : LIGHT;
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
  return { place, chart, colours };
}
