/**
 * Decode a PNG file to 8-bit greys. The browser's own decoder is not used: it applies colour profiles and gamma, reduces
 * 16 bits to 8, and a canvas multiplies colours by their alpha. The stored values are wanted here.
 */
import { ImageError } from "../errors";
import type { Intensity } from "../model/metadata";
import type { Greys } from "../resize";
import { luminance, rangeOf, to8Bit } from "./greys";
import { orientationOf, upright } from "./orientation";
import { chunksOf } from "./pngChunks";
import { checkShape } from "./shape";

interface Header {
  width: number;
  height: number;
  depth: number;
  colour: number;
  interlaced: boolean;
}

const GREY = 0;
const PALETTE = 3;
const CHANNELS: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS: Record<number, number[]> = { 0: [2, 4, 8, 16], 2: [8], 3: [1, 2, 4, 8], 4: [8], 6: [8] };

export async function decodePng(file: Uint8Array<ArrayBuffer>, intensity: Intensity): Promise<Greys> {
  const chunks = chunksOf(file);
  const header = headerOf(chunks[0]?.name === "IHDR" ? chunks[0].content : new Uint8Array(0));
  const samples = unpacked(
    await inflated(chunks.filter(({ name }) => name === "IDAT").map(({ content }) => content), bytesOf(header)),
    header,
  );
  const greys = greysOf(samples, header, intensity, chunks.find(({ name }) => name === "PLTE")?.content);
  const exif = chunks.find(({ name }) => name === "eXIf");
  const image = { width: header.width, height: header.height, pixels: greys };
  return exif ? upright(image, orientationOf(exif.content)) : image;
}

function headerOf(content: Uint8Array): Header {
  if (content.length !== 13) throw new ImageError("not a complete PNG file (it does not begin with IHDR)");
  const view = new DataView(content.buffer, content.byteOffset);
  const [width, height, depth, colour] = [view.getUint32(0), view.getUint32(4), content[8]!, content[9]!];
  if (depth === 1 && colour === GREY) throw new ImageError("1-bit PNG: black and white, not a radiograph");
  if (depth === 16 && colour !== GREY) {
    throw new ImageError("16-bit PNG in colour; this page reads 16-bit grey and 8-bit PNG");
  }
  if (!DEPTHS[colour]?.includes(depth)) throw new ImageError(`PNG of colour type ${colour} with ${depth} bits is not valid`);
  checkShape(width, height);
  return { width, height, depth, colour, interlaced: content[12] === 1 };
}

/** The passes of a PNG file: one for all pixels, or the seven of Adam7 (first column and row, steps). */
function passesOf(header: Header): { x: number; y: number; dx: number; dy: number; width: number; height: number }[] {
  const steps = header.interlaced
    ? [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]]
    : [[0, 0, 1, 1]];
  return steps
    .map(([x, y, dx, dy]) => ({ x: x!, y: y!, dx: dx!, dy: dy! }))
    .map((pass) => ({
      ...pass,
      width: Math.max(0, Math.ceil((header.width - pass.x) / pass.dx)),
      height: Math.max(0, Math.ceil((header.height - pass.y) / pass.dy)),
    }))
    .filter(({ width, height }) => width > 0 && height > 0);
}

function rowBytes(width: number, header: Header): number {
  return Math.ceil((width * header.depth * CHANNELS[header.colour]!) / 8);
}

function bytesOf(header: Header): number {
  return passesOf(header).reduce((sum, pass) => sum + pass.height * (1 + rowBytes(pass.width, header)), 0);
}

/** Return exactly `length` inflated bytes. No more are kept, whatever the file holds. */
async function inflated(parts: Uint8Array<ArrayBuffer>[], length: number): Promise<Uint8Array> {
  const found = new Uint8Array(length);
  let at = 0;
  try {
    const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
    while (at < length) {
      const { done, value } = await reader.read();
      if (done) break;
      found.set(value.subarray(0, length - at), at);
      at += value.length;
    }
    if (at >= length) await reader.cancel();
  } catch {
    throw new ImageError("not a complete PNG file (its pixels cannot be inflated)");
  }
  if (at < length) throw new ImageError("not a complete PNG file (pixels are missing)");
  return found;
}

/** Undo the filters; return the samples of all pixels, row by row. */
function unpacked(bytes: Uint8Array, header: Header): Uint8Array | Uint16Array {
  const channels = CHANNELS[header.colour]!;
  const total = header.width * header.height * channels;
  const samples = header.depth === 16 ? new Uint16Array(total) : new Uint8Array(total);
  const step = Math.max(1, (header.depth * channels) / 8);
  let at = 0;
  for (const pass of passesOf(header)) {
    const length = rowBytes(pass.width, header);
    let above = new Uint8Array(length);
    for (let row = 0; row < pass.height; row++) {
      const line = bytes.subarray(at + 1, at + 1 + length);
      unfilter(bytes[at]!, line, above, step);
      above = line as Uint8Array<ArrayBuffer>;
      at += 1 + length;
      const start = (pass.y + row * pass.dy) * header.width + pass.x;
      if (header.depth === 8 && pass.dx === 1) samples.set(line, start * channels);
      else scatter(line, header.depth, channels, samples, start, pass.dx, pass.width);
    }
  }
  return samples;
}

function scatter(
  line: Uint8Array, depth: number, channels: number, samples: Uint8Array | Uint16Array, start: number, step: number,
  width: number,
): void {
  for (let x = 0; x < width; x++) {
    for (let channel = 0; channel < channels; channel++) {
      const sample = x * channels + channel;
      const to = (start + x * step) * channels + channel;
      if (depth === 16) samples[to] = (line[2 * sample]! << 8) | line[2 * sample + 1]!;
      else if (depth === 8) samples[to] = line[sample]!;
      else {
        const bit = sample * depth;
        samples[to] = (line[bit >> 3]! >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
      }
    }
  }
}

/** Undo a row's filter in place (PNG specification, section 9). */
function unfilter(filter: number, line: Uint8Array, above: Uint8Array, step: number): void {
  if (filter > 4) throw new ImageError(`not a complete PNG file (row filter ${filter})`);
  if (filter === 0) return;
  for (let x = 0; x < line.length; x++) {
    const left = x >= step ? line[x - step]! : 0;
    const up = above[x]!;
    const corner = x >= step ? above[x - step]! : 0;
    const guess = filter === 1 ? left : filter === 2 ? up : filter === 3 ? (left + up) >> 1 : paeth(left, up, corner);
    line[x] = line[x]! + guess;
  }
}

function paeth(left: number, up: number, corner: number): number {
  const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

function greysOf(
  samples: Uint8Array | Uint16Array, header: Header, intensity: Intensity, palette: Uint8Array | undefined,
): Uint8Array {
  if (samples instanceof Uint16Array) {
    const [low, high] = intensity === "per-image" ? rangeOf(samples) : [0, 65535];
    return Uint8Array.from(samples, (value) => to8Bit(value, low, high));
  }
  if (header.colour === PALETTE) return throughPalette(samples, palette);
  if (header.colour === GREY) {
    return header.depth === 8 ? samples : samples.map((value) => (value * 255) / (2 ** header.depth - 1));
  }
  const channels = CHANNELS[header.colour]!;
  const greys = new Uint8Array(header.width * header.height);
  for (let at = 0; at < greys.length; at++) {
    const from = at * channels;
    greys[at] = channels === 2 ? samples[from]! : luminance(samples[from]!, samples[from + 1]!, samples[from + 2]!);
  }
  return greys;
}

function throughPalette(samples: Uint8Array, palette: Uint8Array | undefined): Uint8Array {
  if (!palette) throw new ImageError("not a complete PNG file (it has no palette)");
  const grey = (at: number) => luminance(palette[at]!, palette[at + 1]!, palette[at + 2]!);
  const table = Uint8Array.from({ length: 256 }, (_, index) => (3 * index + 2 < palette.length ? grey(3 * index) : 0));
  return samples.map((value) => table[value]!);
}
