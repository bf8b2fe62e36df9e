import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { themeCss } from "./dev/themeCss.ts";

const backend = process.env["PACS_URL"];

export default defineConfig(async ({ command, isPreview }) => ({
  plugins: [
    react(),
    themeCss(),
    ...(command === "serve" && !backend && !process.env["VITEST"]
      ? [(await import("./dev/mockServer.ts")).mockServer()]
      : []),
  ],
  resolve: { alias: { "@": fileURLToPath(new URL("src", import.meta.url)) } },
  build: {
    outDir: "../static/panel",
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    assetsInlineLimit: 0, // nothing as data: addresses, which the page's policy forbids
    chunkSizeWarningLimit: 1000,
    rolldownOptions: {
      // Else every icon that two pages share is a request of its own.
      output: {
        codeSplitting: { groups: [{ name: "vendor", test: /node_modules\/(?!.*echarts|.*zrender|.*dayjs\/locale)/ }] },
      },
    },
  },
  server: {
    host: "127.0.0.1",
    proxy:
      backend && !isPreview
        ? Object.fromEntries(["/api", "/dicom-web", "/ohif"].map((path) => [path, { target: backend, ws: true }]))
        : undefined,
  },
  test: { environment: "happy-dom", include: ["tests/**/*.test.{ts,tsx}"] },
}));
