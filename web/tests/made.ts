/** Files that the tests make themselves, byte by byte. */
import { createHash } from "node:crypto";

const text = (value: string) => new TextEncoder().encode(value);

export function joined(...parts: ArrayLike<number>[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => Array.from(part)));
}

function varint(value: number): number[] {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return [...bytes, value];
}

function field(number: number, content: ArrayLike<number>): Uint8Array {
  return joined(varint(number * 8 + 2), varint(content.length), content);
}

/** The start of an ONNX file: ir_version 10, then a graph (field 7) of `length` bytes that no runtime can load. */
export function onnxStart(length = 300): Uint8Array {
  return joined([8, 10], field(7, new Uint8Array(length)));
}

export function entry(key: string, value: string): Uint8Array {
  return field(14, joined(field(1, text(key)), field(2, text(value))));
}

export function sealed(body: Uint8Array): Uint8Array<ArrayBuffer> {
  return joined(body, entry("sha256", createHash("sha256").update(body).digest("hex")));
}

export function metadata(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    format: 1, network: "net", run: "run", study: "study", dataset: "phantom",
    findings: [{ name: "Mass", intercept: -1, slope: 2, operating_points: [{ rule: "youden", logit: 0.5, sensitivity: 0.9, specificity: 0.8 }] }],
    image_size: 8, keep_aspect: false, intensity: "fixed", cells: [2, 2],
    known_answer: { logits: [0.25], tolerance: 0.001 }, versions: {}, use: "research", licence: "a licence",
    ...changes,
  }; // prettier-ignore
}

/** A DICOM file: explicit little endian, uncompressed, 8 bits. */
export function dicom(pixels: Uint8Array, columns: number, photometric: string, syntax = "1.2.840.10008.1.2.1"): Uint8Array<ArrayBuffer> {
  const short = (value: number) => [value & 255, value >> 8];
  const long = (value: number) => [...short(value & 65535), ...short(value >>> 16)];
  const tagged = (group: number, element: number, vr: string, content: ArrayLike<number>) =>
    joined(short(group), short(element), text(vr), short(content.length), content);
  const even = (value: string) => text(value.length % 2 ? `${value}\0` : value);
  const word = (group: number, element: number, value: number) => tagged(group, element, "US", short(value));
  const meta = tagged(2, 0x10, "UI", even(syntax));
  return joined(
    new Uint8Array(128), text("DICM"),
    tagged(2, 0, "UL", long(meta.length)), meta,
    word(0x28, 2, 1), tagged(0x28, 4, "CS", text(`${photometric} `)),
    word(0x28, 0x10, pixels.length / columns), word(0x28, 0x11, columns),
    word(0x28, 0x100, 8), word(0x28, 0x101, 8), word(0x28, 0x102, 7), word(0x28, 0x103, 0),
    short(0x7fe0), short(0x10), text("OW"), [0, 0], long(pixels.length), pixels,
  ); // prettier-ignore
}
