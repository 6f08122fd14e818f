import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { gzipSync } from "node:zlib";

import { defaultClientConditions, type Plugin } from "vite";
import { defineConfig } from "vitest/config";

const SERVICE_WORKER = "sw.js";

/** Tell the service worker which files the build wrote, once they are all there. */
function listFilesForOffline(): Plugin {
  let folder = "";
  return {
    name: "list-files-for-offline",
    apply: "build",
    configResolved: (config) => void (folder = join(config.root, config.build.outDir)),
    closeBundle() {
      const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
        .filter((name) => statSync(join(folder, name)).isFile() && name !== SERVICE_WORKER)
        .map((name) => relative(folder, join(folder, name)).replaceAll("\\", "/"))
        .sort();
      const hash = createHash("sha256");
      for (const name of files) hash.update(name).update(readFileSync(join(folder, name)));
      const path = join(folder, SERVICE_WORKER);
      const list = JSON.stringify(["./", ...files.filter((name) => name !== "index.html")]);
      const told = readFileSync(path, "utf8")
        .replace(/(["'`])__FILES__\1/, () => JSON.stringify(list))
        .replace("__VERSION__", hash.digest("hex").slice(0, 16));
      if (told.includes("__FILES__") || told.includes("__VERSION__")) throw new Error("sw.js has a placeholder left");
      writeFileSync(path, told);
    },
  };
}

const GZIP = "?gzip";

/**
 * `import address from "FILE?gzip"` puts FILE into the build, compressed with gzip, so that it is small on every server.
 * The ending of its name is unknown to servers: else some would tell the browser to inflate it.
 */
function gzipFiles(): Plugin {
  return {
    name: "gzip-files",
    enforce: "pre",
    async resolveId(source, importer) {
      if (!source.endsWith(GZIP)) return null;
      const found = await this.resolve(source.slice(0, -GZIP.length), importer);
      return found && found.id + GZIP;
    },
    load(id) {
      if (!id.endsWith(GZIP)) return null;
      const file = id.slice(0, -GZIP.length);
      const reference = this.emitFile({
        type: "asset",
        name: `${basename(file)}.gzip`,
        source: gzipSync(readFileSync(file), { level: 9 }),
      });
      return `export default import.meta.ROLLUP_FILE_URL_${reference};`;
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [listFilesForOffline()],
  // The runtime's form that takes its WebAssembly from addresses that are given to it (src/model/runtime.ts).
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es", plugins: () => [gzipFiles()] },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { index: "index.html", sw: "src/serviceWorker.ts" },
      output: {
        entryFileNames: (chunk) => (chunk.name === "sw" ? SERVICE_WORKER : "assets/[name]-[hash].js"),
      },
    },
  },
  test: { testTimeout: 120_000, hookTimeout: 120_000, fileParallelism: false },
});
