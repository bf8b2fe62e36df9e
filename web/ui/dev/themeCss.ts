import { convertCssVariables, DEFAULT_THEME, defaultCssVariablesResolver, mergeMantineTheme } from "@mantine/core";
import type { Plugin } from "vite";
import { theme } from "../src/theme.ts";

const NAME = "virtual:theme.css";

/**
 * Mantine writes the theme's variables into a style element at run time, which a strict `style-src 'self'` forbids.
 * They never change here, so they become part of the style sheet.
 */
export function themeCss(): Plugin {
  return {
    name: "theme-css",
    resolveId: (id) => (id === NAME ? `\0${NAME}` : undefined),
    load: (id) =>
      id === `\0${NAME}`
        ? convertCssVariables(defaultCssVariablesResolver(mergeMantineTheme(DEFAULT_THEME, theme)), ":root")
        : undefined,
  };
}
