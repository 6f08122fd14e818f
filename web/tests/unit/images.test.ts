import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { beforeAll, describe, expect, test, vi } from "vitest";

import { decode } from "../../src/decode/decode";
import { resized } from "../../src/resize";
import { expected, FIXTURES, SKIPPED } from "../fixtures";
import { dicom } from "../made";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

// Codecs fetch their WebAssembly, from an address that begins at the project's folder.
beforeAll(() => void vi.stubGlobal("fetch", async (address: string) => new Response(readFileSync(join(PROJECT, address)))));

const grey = (width: number, height: number, of: (x: number, y: number) => number) => ({
  width,
  height,
  pixels: Uint8Array.from({ length: width * height }, (_, at) => of(at % width, Math.floor(at / width))),
});

describe("another size", () => {
  test("is the mean over each pixel's part, rounded half up", () => {
    expect([...resized(grey(4, 4, (x, y) => x + 4 * y), 2, false).pixels]).toEqual([3, 5, 11, 13]); // 2.5 becomes 3
    expect([...resized(grey(3, 3, (x) => 30 * x), 2, false).pixels]).toEqual([10, 50, 10, 50]);
  });

  test("keeps the mean of the image", () => {
    const image = grey(997, 613, (x, y) => (x * 7 + y * 13) % 251);
    const mean = (values: Uint8Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(Math.abs(mean(resized(image, 224, false).pixels) - mean(image.pixels))).toBeLessThan(0.05);
  });

  test("with the aspect kept is centred on black", () => {
    const { pixels } = resized(grey(8, 4, () => 200), 4, true);
    expect([...pixels]).toEqual([...Array(4).fill(0), ...Array(8).fill(200), ...Array(4).fill(0)]);
  });

  test("of the same size is the image", () => {
    const image = grey(5, 5, (x, y) => x * y);
    expect(resized(image, 5, false)).toEqual(image);
  });
});

describe("DICOM", () => {
  const pixels = Uint8Array.from({ length: 32 }, (_, at) => 8 * at);

  test("without a window shows all that the stored bits allow; MONOCHROME1 is inverted", async () => {
    const { width, height, pixels: greys } = await decode(dicom(pixels, 8, "MONOCHROME2"), "fixed");
    expect([width, height, [...greys]]).toEqual([8, 4, [...pixels]]);
    const inverted = await decode(dicom(pixels, 8, "MONOCHROME1"), "fixed");
    expect([...inverted.pixels]).toEqual([...pixels].map((value) => 255 - value));
  });

  test("that was cut off, in colour or in an unknown syntax is refused with the reason", async () => {
    const whole = dicom(pixels, 8, "MONOCHROME2");
    await expect(decode(whole.slice(0, -5), "fixed")).rejects.toThrow("not a complete");
    await expect(decode(dicom(pixels, 8, "PALETTE COL"), "fixed")).rejects.toThrow("PALETTE COL");
    const highThroughput = dicom(pixels, 8, "MONOCHROME2", "1.2.840.10008.1.2.4.201");
    await expect(decode(highThroughput, "fixed")).rejects.toThrow("High-Throughput JPEG 2000 Lossless");
    await expect(decode(dicom(pixels, 8, "MONOCHROME2", "1.2.840.10008.1.2.1.99"), "fixed")).rejects.toThrow("Deflated");
  });
});

test("files that are no images are refused with the reason", async () => {
  await expect(decode(new TextEncoder().encode("a text\n"), "fixed")).rejects.toThrow("not a PNG, JPEG or DICOM file");
  await expect(decode(new Uint8Array(), "fixed")).rejects.toThrow("0 bytes");
  await expect(decode(dicom(new Uint8Array(32), 8, "MONOCHROME2"), "fixed")).rejects.toThrow("same grey");
});

describe.skipIf(!expected)(`greys are those of Python's decode (${expected ? FIXTURES : SKIPPED})`, () => {
  const cases = (expected?.greys ?? []).map(
    (each) => [`${each.file} ${each.intensity}${each.keep_aspect ? " keep_aspect" : ""}`, each] as const,
  );

  test.each(cases)("%s", async (_, { file, size, keep_aspect, intensity, greys }) => {
    const image = await decode(new Uint8Array(readFileSync(join(FIXTURES!, "greys", file))), intensity);
    const found = resized(image, size, keep_aspect).pixels;
    expect(Buffer.from(found).equals(Buffer.from(greys, "base64"))).toBe(true);
  });

  const compressed = ["rle", "jpeg-lossless", "jpeg-lossless-sv1", "jpeg-ls", "jpeg-2000"];

  test.each(compressed)("a DICOM file in %s that was cut off, or its compressed image alone, is refused", async (syntax) => {
    const fileOf = (name: string) => new Uint8Array(readFileSync(join(FIXTURES!, "greys", name)));
    const whole = fileOf(`${syntax}-12-bit.dcm`);
    await expect(decode(whole.slice(0, 0.6 * whole.length), "fixed")).rejects.toThrow("not a complete");
    await expect(decode(fileOf(`cut-${syntax}.dcm`), "fixed")).rejects.toThrow("not a complete");
    await decode(whole, "fixed"); // a codec that failed is replaced
  });

  test("a PNG file that was changed anywhere, or cut off, is refused", async () => {
    const whole = new Uint8Array(readFileSync(join(FIXTURES!, "images", "p0.png")));
    for (let position = 8; position < whole.length; position += 9973) {
      const changed = whole.slice();
      changed[position]! ^= 16;
      await expect(decode(changed, "fixed")).rejects.toThrow("not a complete PNG file");
      await expect(decode(whole.slice(0, position), "fixed")).rejects.toThrow("not a complete PNG file");
    }
  });
});
