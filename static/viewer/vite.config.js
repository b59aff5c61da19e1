// Bundles the quick viewer; run by `python -m apps.viewer.build`, which says where the result is served and written.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const names = { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" };

export default defineConfig({
  root: here("."),
  base: process.env.QUICK_BASE,
  logLevel: "error",
  publicDir: false,
  resolve: {
    alias: [
      // xmlbuilder2 needs node's events and dies in a browser.
      { find: "xmlbuilder2", replacement: here("./stubs/nothing.js") },
      { find: /^.*\/WebGPU\/(RenderWindow|Profiles\/\w+)\.js$/, replacement: here("./stubs/nothing.js") },
    ],
  },
  worker: { format: "es", rollupOptions: { output: names } },
  build: {
    outDir: process.env.QUICK_OUT,
    emptyOutDir: true,
    modulePreload: false,
    target: "es2022",
    assetsDir: ".",
    chunkSizeWarningLimit: 9999,
    rollupOptions: {
      input: { main: here("./main.js") },
      output: names,
    },
  },
});
