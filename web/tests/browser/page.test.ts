/** The built page in Chromium, as a user has it. Skipped without Chromium or without the folder of make_fixtures.py. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { serve } from "../../serve.mjs";
import { expected, FIXTURES, SKIPPED } from "../fixtures";
import { dicom, entry, joined, metadata, onnxStart, sealed } from "../made";

const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
const missing = !expected ? SKIPPED : !existsSync(CHROMIUM) ? `skipped: there is no Chromium at ${CHROMIUM}` : "";
const TOLERANCE = 1e-3; // logits
const MOST_BYTES = 150e6 / 8; // of the page and its model: an eighth of what Chester asks a browser to load

interface Row {
  image: string;
  finding: string;
  logit: number;
  probability: number;
  present: string;
}

describe.skipIf(missing)(`the page ${missing}`, () => {
  let browser: Browser;
  let folder: string; // a copy of dist, with a model beside the page
  let server: Server;
  let context: BrowserContext;
  let page: Page;
  let foreign: string[];

  const address = (of = server) => `http://localhost:${(of.address() as AddressInfo).port}/`;
  const image = (name: string) => join(FIXTURES!, "images", name);
  const file = (name: string) => ({ name, mimeType: "", buffer: readFileSync(image(name)) });
  const model = () => readFileSync(join(FIXTURES!, "model.onnx"));

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
    folder = mkdtempSync(join(tmpdir(), "cxr-kd-web-"));
    cpSync(DIST, folder, { recursive: true });
    cpSync(join(FIXTURES!, "model.onnx"), join(folder, "model.onnx"));
  });

  afterAll(async () => {
    await browser.close();
    rmSync(folder, { recursive: true });
  });

  beforeEach(async () => {
    server = await serve(folder, 0);
    context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    foreign = [];
    context.on("request", (request) => {
      const { protocol, hostname } = new URL(request.url());
      if (protocol.startsWith("http") && hostname !== "localhost") foreign.push(request.url());
    });
    page = await context.newPage();
    page.on("pageerror", (error) => expect.soft(error.message).toBe("no error on the page"));
    page.on("console", (message) => {
      // Of Content-Security-Policy and of the runtime. A failed load has tests of its own.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
        expect.soft(message.text()).toBe("no error in the console");
      }
    });
  });

  afterEach(async () => {
    await context.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    expect(foreign).toEqual([]);
  });

  async function open(of = server): Promise<void> {
    await page.goto(address(of));
    await page.getByText("model.onnx is loaded").waitFor();
  }

  async function read(files: Parameters<Page["setInputFiles"]>[1], done: string): Promise<void> {
    await page.getByLabel("Choose radiographs").setInputFiles(files);
    await page.getByText(done).waitFor({ timeout: 100_000 });
  }

  async function rows(): Promise<Row[]> {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
    expect(download.suggestedFilename()).toBe("answers.csv");
    const [head, ...lines] = readFileSync(await download.path(), "utf8").trimEnd().split("\n");
    expect(head).toBe("image,finding,logit,probability,threshold,present");
    return lines.map((line) => {
      const [name, finding, logit, probability, , present] = line.split(",");
      return { image: name!, finding: finding!, logit: Number(logit), probability: Number(probability), present: present! };
    });
  }

  async function openModel(name: string): Promise<void> {
    await page.getByLabel("Open a model file").setInputFiles(join(FIXTURES!, name));
    await page.getByText(`${name} is loaded`).waitFor();
  }

  async function compareLogits(name: "model" | "int8", files: string[]): Promise<Row[]> {
    await read(files.map(image), `${files.length} of ${files.length} done`);
    const found = await rows();
    const differences = files.map((file) => {
      const wanted = expected!.logits[name][file]!;
      const logits = found.filter((row) => row.image === file).map(({ logit }) => logit);
      expect(logits).toHaveLength(wanted.length);
      return [file, Math.max(...logits.map((logit, position) => Math.abs(logit - wanted[position]!)))] as const;
    });
    console.log(`${name}: largest difference of a logit from Python's ${Math.max(...differences.map(([, value]) => value)).toExponential(1)}`);
    for (const [file, difference] of differences) expect(difference, file).toBeLessThan(TOLERANCE);
    return found;
  }

  const made = Object.keys(expected?.logits.model ?? {}).filter((file) => !expected!.real.includes(file));

  test("gives Python's logits for PNG, JPEG and DICOM files", async () => {
    await open();
    const found = await compareLogits("model", made);
    expect(new Set(found.map(({ present }) => present))).toEqual(new Set(["True", "False", ""])); // the last: no operating point
  });

  test("gives Python's logits with a model of 8-bit weights", async () => {
    await open();
    await openModel("int8.onnx");
    await compareLogits("int8", made);
  });

  const noReal = expected?.real.length ? "" : " (skipped: make_fixtures.py found none)";

  test.skipIf(noReal)(`gives Python's logits for real radiographs${noReal}`, async () => {
    await open();
    await compareLogits("model", expected!.real);
  });

  test("gives no findings of an image that is unlike the training images, unless it is asked to", async () => {
    await open();
    await openModel("int8.onnx"); // its output `distance` is made: bright images are far away
    const bright = dicom(Uint8Array.from({ length: 64 * 64 }, (_, at) => 200 + (at % 50)), 64, "MONOCHROME2");
    await read([{ name: "bright.dcm", mimeType: "", buffer: Buffer.from(bright) }, file("p0.png")], "2 of 2 done");
    const warning = page.getByText(/^This does not look like the radiographs that the model learned from \(1\.\d\d times the limit\)/);
    await warning.waitFor();
    expect(await page.locator("table").count()).toBe(0);
    expect(await page.locator("#image-list").textContent()).toContain("unlike the training images");
    const decided = (await rows()).filter(({ present }) => present !== "");
    expect(new Set(decided.map((row) => row.image))).toEqual(new Set(["p0.png"]));
    await page.getByRole("button", { name: "Show them all the same" }).click();
    expect(await page.locator("tbody tr").count()).toBe(expected!.logits.int8["p0.png"]!.length);
    expect(await page.locator("tbody button").first().evaluate((button) => button === document.activeElement)).toBe(true);
    expect(await page.locator("tbody").textContent()).toContain("not decided");
    expect(await warning.isVisible()).toBe(true);
    await page.getByRole("button", { name: "p0.png" }).click();
    expect(await page.locator("tbody tr").count()).toBe(expected!.logits.int8["p0.png"]!.length);
    expect(await warning.count()).toBe(0);
  });

  test("is small, with a model of 8-bit weights", () => {
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name !== "model.onnx");
    const paths = [...files.map((name) => join(folder, name)), join(FIXTURES!, "int8.onnx")];
    const bytes = paths.map((path) => statSync(path)).reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
    expect(bytes).toBeLessThan(MOST_BYTES);
  });

  test("works with one thread if the server does not isolate it", async () => {
    const plain = await serve(folder, 0, false);
    try {
      await open(plain);
      expect(await page.locator("#model-facts").textContent()).toContain("1 thread");
      await read(image("p0.png"), "1 of 1 done");
    } finally {
      await page.close();
      plain.closeAllConnections();
      plain.close();
    }
  });

  test("says what the model is for and what it learned from", async () => {
    await open();
    const banner = page.getByRole("note");
    expect(await banner.textContent()).toContain("For research, not for diagnosis.");
    expect(await banner.textContent()).toContain("synthetic radiographs. It knows nothing about patients.");
    await page.getByText("About this model").click();
    const facts = await page.locator("#model-facts").textContent();
    expect(facts).toContain(`${expected!.size} × ${expected!.size} px`);
    expect(facts).toContain("The code is under Apache-2.0");
  });

  test("inverts MONOCHROME1", async () => {
    await open();
    const pixels = Uint8Array.from({ length: 64 * 64 }, (_, at) => (at % 64) * 3 + Math.floor(at / 128));
    const buffers = ["MONOCHROME1", "MONOCHROME2"].map((kind) => ({
      name: `${kind}.dcm`, mimeType: "application/dicom", buffer: Buffer.from(dicom(pixels, 64, kind)),
    })); // prettier-ignore
    await read(buffers, "2 of 2 done");
    const corners = await page.locator("#image-list canvas").evaluateAll((canvases) =>
      canvases.map((canvas) => [...(canvas as HTMLCanvasElement).getContext("2d")!.getImageData(0, 0, 1, 1).data]),
    );
    expect(corners[1]![0]).toBeLessThan(5);
    expect(corners[0]![0]).toBe(255 - corners[1]![0]!);
  });

  test("lists files that it cannot read with the reason, and answers the others", async () => {
    await open();
    const whole = readFileSync(image("p0.png"));
    const jpeg = readFileSync(image("grey.jpg"));
    await read(
      [
        { name: "cut.png", mimeType: "image/png", buffer: whole.subarray(0, 5000) },
        { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("a text") },
        { name: "cut.jpg", mimeType: "image/jpeg", buffer: jpeg.subarray(0, 9000) },
        { name: "whole.png", mimeType: "image/png", buffer: whole },
        {
          name: "other.dcm",
          mimeType: "application/dicom",
          buffer: Buffer.from(dicom(new Uint8Array(64), 8, "MONOCHROME2", "1.2.840.10008.1.2.4.201")),
        },
      ],
      "5 of 5 done; 4 could not be read",
    );
    const reasons = await page.locator("#unreadable-list li").allTextContents();
    expect(reasons[0]).toMatch(/^cut\.png: not a complete PNG file/);
    expect(reasons[1]).toBe("notes.txt: not a PNG, JPEG or DICOM file");
    expect(reasons[2]).toMatch(/^cut\.jpg: not a complete JPEG file/);
    expect(reasons[3]).toContain("High-Throughput JPEG 2000 Lossless (1.2.840.10008.1.2.4.201)");
    expect(new Set((await rows()).map((row) => row.image))).toEqual(new Set(["whole.png"]));
  });

  test("refuses models that are damaged, foreign or of another version, and keeps the earlier one", async () => {
    await open();
    const changed = Buffer.from(model());
    changed[100_000]! ^= 1;
    const otherAnswer = Buffer.from(model().subarray(0, -76));
    const at = otherAnswer.indexOf('"known_answer":{"logits":[') + '"known_answer":{"logits":['.length;
    otherAnswer.write(otherAnswer[at] === 45 ? "-9" : "9", at);
    const cases: [string, Buffer, RegExp][] = [
      ["changed", changed, /was changed after it was exported/],
      ["cut-off", model().subarray(0, 5_000_000), /was cut off: it ends after 5,000,000 bytes/],
      ["text", Buffer.from("a text"), /no model of this project/],
      ["foreign", Buffer.from(onnxStart()), /no model of this project/],
      ["version", Buffer.from(sealed(joined(onnxStart(), entry("cxr_kd", JSON.stringify(metadata({ format: 2 })))))), /format version 2; this page reads version 1/],
      ["no-network", Buffer.from(sealed(joined(onnxStart(), entry("cxr_kd", JSON.stringify(metadata()))))), /cannot load the model/],
      ["answer", Buffer.from(sealed(otherAnswer)), /The known answer was missed/],
    ];
    for (const [name, buffer, reason] of cases) {
      await page.getByLabel("Open a model file").setInputFiles({ name, mimeType: "application/octet-stream", buffer });
      const alert = page.getByRole("alert").filter({ hasText: `${name}: ` });
      await alert.waitFor();
      expect(await alert.textContent()).toMatch(reason);
      expect(await page.locator("#model-status").textContent()).toContain("stays loaded");
    }
    await read(image("p0.png"), "1 of 1 done");
  });

  test("shows a map per finding on one scale, by mouse and by keyboard", async () => {
    await open();
    await read([image("p0.png"), image("p1.png")], "2 of 2 done");
    const drawn = () =>
      page.locator("canvas.radiograph").evaluate((canvas) => {
        const { data, height, width } = (canvas as HTMLCanvasElement).getContext("2d")!.getImageData(0, 0, 768, 768);
        let coloured = 0;
        for (let at = 0; at < data.length; at += 4) coloured += data[at] !== data[at + 2] ? 1 : 0;
        return { coloured, height, width };
      });
    await page.waitForFunction(() => document.querySelector<HTMLCanvasElement>("canvas.radiograph")!.width > 224);
    const pressed = page.locator("tbody button[aria-pressed=true]");
    expect(await pressed.textContent()).toBe("Mass"); // the only one that is called present
    expect((await drawn()).coloured).toBeGreaterThan(100);
    const ticks = await page.locator(".ticks span").allTextContents();
    const others = page.locator("tbody button[aria-pressed=false]");
    const other = (await others.last().textContent())!;
    expect(other).not.toBe("Mass");
    await others.last().focus();
    await page.keyboard.press("Enter");
    expect(await pressed.textContent()).toBe(other);
    expect(await page.locator("canvas.radiograph").getAttribute("aria-label")).toContain(`Map of ${other}`);
    expect(await page.locator(".ticks span").allTextContents()).toEqual(ticks);
    await page.keyboard.press("Enter");
    expect(await pressed.count()).toBe(0);
    expect((await drawn()).coloured).toBe(0);
    await page.getByRole("button", { name: "p1.png" }).click();
    expect(await page.getByRole("heading", { name: "p1.png" }).isVisible()).toBe(true);
    await page.getByRole("button", { name: "Remove all" }).click();
    expect(await page.locator("#answers").isHidden()).toBe(true);
  });

  test("is walked through by Tab and arrow keys", async () => {
    await open();
    await read([file("p0.png"), file("p1.png"), file("p2.png")], "3 of 3 done");
    const focused = () => page.evaluate(() => document.activeElement!.closest("button, input, summary, [role=region]")?.textContent?.slice(0, 20) ?? "");
    await page.getByRole("button", { name: "Remove all" }).focus();
    await page.keyboard.press("Tab");
    expect(await focused()).toContain("p0.png");
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowUp");
    expect(await focused()).toContain("p1.png");
    await page.keyboard.press("Enter");
    expect(await page.getByRole("heading", { name: "p1.png" }).isVisible()).toBe(true);
    await page.keyboard.press("Tab"); // the region of the table, which can be scrolled
    await page.keyboard.press("Tab");
    expect(await focused()).toBe("Mass");
    await page.keyboard.press("ArrowDown");
    expect(await focused()).toBe("Edema");
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("Shift+Tab");
    expect(await focused()).toContain("p1.png"); // where it was left
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle);
    expect(outline).toBe("solid");
  });

  test("reads 200 files at once and stays responsive", async () => {
    await open();
    const buffers = Array.from({ length: 200 }, (_, position) => ({
      name: `image-${position}.png`,
      mimeType: "image/png",
      buffer: readFileSync(image(`p${position % 3}.png`)),
    }));
    const start = performance.now();
    await page.getByLabel("Choose radiographs").setInputFiles(buffers);
    await page.getByText(/^[1-9]\d* of 200 done/).waitFor(); // until then, the test hands the files over
    await page.evaluate(() => {
      const told = { worst: 0, last: performance.now() };
      Object.assign(window, { told });
      setInterval(() => {
        told.worst = Math.max(told.worst, performance.now() - told.last);
        told.last = performance.now();
      }, 10);
    });
    await page.getByText("200 of 200 done").waitFor({ timeout: 100_000 });
    const worst = await page.evaluate(() => (window as unknown as { told: { worst: number } }).told.worst);
    console.log(`200 files in ${((performance.now() - start) / 1000).toFixed(1)} s; the page was never busy for over ${worst.toFixed(0)} ms`);
    expect(await page.locator("#image-list li").count()).toBe(200);
    const found = await rows();
    expect(found).toHaveLength(200 * expected!.logits.model["p0.png"]!.length);
    const last = found.filter((row) => row.image === "image-199.png");
    last.forEach((row, position) => expect(Math.abs(row.logit - expected!.logits.model["p1.png"]![position]!)).toBeLessThan(TOLERANCE));
  });

  test("works without a server after the first load", async () => {
    await open();
    await page.evaluate(async () => {
      const { active } = await navigator.serviceWorker.ready;
      if (active!.state !== "activated") await new Promise((resolve) => active!.addEventListener("statechange", resolve));
    });
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await page.reload();
    await page.getByText("model.onnx is loaded").waitFor();
    await read(image("p0.png"), "1 of 1 done");
    const stored = await page.evaluate(async () => {
      const names = await caches.keys();
      const lists = await Promise.all(names.map(async (name) => (await caches.open(name)).keys()));
      return lists.flat().map((request) => new URL(request.url).pathname);
    });
    expect(stored.every((path) => /^\/$|^\/model\.onnx$|^\/assets\//.test(path))).toBe(true);
    server = await serve(folder, 0); // for afterEach
  });

  test("cannot send anything to another host, from the page or from its worker", async () => {
    await open();
    page.removeAllListeners("console"); // the browser reports there what it stopped
    const refused = await page.evaluate(() => {
      const stopped = new Promise<string>((resolve) =>
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective)),
      );
      return fetch("http://127.0.0.1:1/").then(() => "sent", () => stopped);
    }); // prettier-ignore
    expect(refused).toBe("connect-src");
    const worker = page.workers()[0]!;
    expect(await worker.evaluate(() => fetch("http://127.0.0.1:1/").then(() => "sent", (error) => String(error)))).not.toBe("sent");
    foreign = []; // requests that the policy stopped
  });

  test.each([400, 320])("needs no horizontal scrolling at %i px, light and dark", async (width) => {
    await page.setViewportSize({ width, height: 800 });
    await open();
    await read([file("p0.png"), file("window.dcm"), { name: `${"long".repeat(40)}.png`, mimeType: "", buffer: Buffer.from("x") }], "3 of 3 done; 1 could not be read");
    await page.getByText("About this model").click();
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    }
  });
});
