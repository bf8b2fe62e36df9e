import { createTheme, type MantineColorsTuple } from "@mantine/core";

/** A calm blue-green that stays legible beside images in a dark room. */
const reading: MantineColorsTuple = [
  "#e3f6f8",
  "#c9ebf0",
  "#9bd8e1",
  "#68c2d0",
  "#3eaebf",
  "#239eb1",
  "#12899c",
  "#0b7285",
  "#075b6b",
  "#034552",
];

const dark: MantineColorsTuple = [
  "#d6dce3",
  "#b3bcc7",
  "#97a2af",
  "#6f7b8a",
  "#465160",
  "#333d4a",
  "#232b36",
  "#161c24",
  "#10151b",
  "#0a0e13",
];

export const theme = createTheme({
  primaryColor: "reading",
  primaryShade: 7,
  autoContrast: true,
  luminanceThreshold: 0.32,
  colors: { reading, dark },
  defaultRadius: "sm",
  respectReducedMotion: true,
  fontFamily:
    'Inter, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "Noto Sans Mono", monospace',
  headings: {
    fontWeight: "600",
    sizes: { h1: { fontSize: "1.25rem" }, h2: { fontSize: "1.0625rem" }, h3: { fontSize: "0.9375rem" } },
  },
  components: {
    // A dialog's heading is a header element, but no banner of the page.
    Modal: { defaultProps: { lockScroll: false, centered: true, attributes: { header: { role: "none" } } } },
    Drawer: { defaultProps: { lockScroll: false, attributes: { header: { role: "none" } } } },
    Tooltip: { defaultProps: { openDelay: 350, withArrow: true } },
    Menu: { defaultProps: { shadow: "md", withinPortal: true } },
    Table: { defaultProps: { verticalSpacing: 6 } },
  },
});
