import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/**
 * sonner writes its style sheet into a <style> element when it loads, which our Content-Security-Policy refuses.
 * We import the same sheet as a file (styles.css), so the call is taken out.
 */
const sonnerWithoutStyleTag: Plugin = {
  name: "sonner-without-style-tag",
  transform(code, id) {
    if (!/node_modules\/sonner\/dist\/index\.m?js/.test(id)) return null;
    const without = code.replace(/^__insertCSS\(.*$/m, "");
    if (without === code) this.error("sonner no longer calls __insertCSS: this plugin can go.");
    return { code: without, map: null };
  },
};

const backend = process.env.MISTUDIO_ADDRESS ?? "http://127.0.0.1:8420";

export default defineConfig({
  plugins: [react(), tailwindcss(), sonnerWithoutStyleTag],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    outDir: "../src/mistudio/web/static",
    emptyOutDir: true,
    target: ["chrome123", "firefox120", "safari17.5"],
    // The policy forbids data: fonts and scripts; everything stays a file.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      "/api": backend,
      "/socket.io": { target: backend, ws: true },
    },
  },
});
