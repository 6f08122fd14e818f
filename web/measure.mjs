/**
 * Measure the page: `node measure.mjs MODEL IMAGE`, after `npm run build`. Prints bytes of its files and, for one thread
 * and for as many as the browser gives, the median milliseconds of RUNS readings of one image.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { serve } from "./serve.mjs";

const RUNS = 20;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const [model, image] = process.argv.slice(2);
if (!model || !image) {
  console.error("usage: node measure.mjs MODEL IMAGE");
  process.exit(2);
}

function bytesIn(folder) {
  return readdirSync(folder, { recursive: true })
    .map((name) => statSync(join(folder, name)))
    .reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
}

/** Read the image RUNS times; return how long decoding and the network took, as the page says it. */
async function timed(browser, folder, isolated) {
  const server = await serve(folder, 0, isolated);
  const page = await browser.newPage();
  await page.goto(`http://localhost:${server.address().port}/`);
  await page.getByText("model.onnx is loaded").waitFor();
  const told = await page.locator("#model-facts").textContent();
  const files = Array.from({ length: RUNS + 2 }, (_, position) => ({
    name: `${position}-${basename(image)}`, mimeType: "", buffer: readFileSync(image),
  })); // prettier-ignore
  await page.getByLabel("Choose radiographs").setInputFiles(files);
  await page.getByText(`${files.length} of ${files.length} done`).waitFor();
  const times = { decode: [], network: [] };
  const buttons = page.locator("#image-list button");
  for (let at = 2; at < files.length; at++) {
    await buttons.nth(at).click(); // the first two warm up
    const [, decode, network] = /ms: ([\d.]+) to decode, ([\d.]+) for/.exec(await page.locator("caption").textContent());
    times.decode.push(Number(decode));
    times.network.push(Number(network));
  }
  await page.close();
  server.closeAllConnections();
  server.close();
  return { threads: /(\d+) threads?/.exec(told)[1], decode_ms: median(times.decode), network_ms: median(times.network) };
}

const dist = fileURLToPath(new URL("dist", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "cxr-kd-web-"));
cpSync(dist, folder, { recursive: true });
cpSync(model, join(folder, "model.onnx"));
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const bytes = { page: bytesIn(dist), model: statSync(model).size };
  console.log(JSON.stringify({ bytes, one: await timed(browser, folder, false), more: await timed(browser, folder, true) }, null, 2));
} finally {
  await browser.close();
  rmSync(folder, { recursive: true });
}
