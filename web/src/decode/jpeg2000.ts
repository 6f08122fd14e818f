/** JPEG 2000 (ISO/IEC 15444-1), decoded by OpenJPEG. */
import address from "@cornerstonejs/codec-openjpeg/decodewasm?url";

import { ImageError } from "../errors";
import type { Frame } from "./jpeg";
import { checkFrame, type Attributes, type StoredValues } from "./tags";
import { WasmCodec } from "./wasmCodec";

const codec = new WasmCodec(() => import("@cornerstonejs/codec-openjpeg/decodewasmjs"), address, "J2KDecoder");

export async function decodeJpeg2000(stream: Uint8Array, attributes: Attributes): Promise<StoredValues> {
  checkFrame(statedSize(stream), attributes);
  return codec.decode(stream, attributes.rows * attributes.columns);
}

const SEARCHED = 256; // bytes: boxes of a JP2 file may precede the codestream

/** Return what the codestream's first segment, SIZ, states (A.5.1). */
function statedSize(stream: Uint8Array): Frame {
  const start = stream.subarray(0, SEARCHED);
  const at = start.findIndex((_, from) => [0xff, 0x4f, 0xff, 0x51].every((byte, offset) => start[from + offset] === byte));
  if (at < 0 || at + 43 > stream.length) throw new ImageError("not a complete DICOM file (its JPEG 2000 has no header)");
  const view = new DataView(stream.buffer, stream.byteOffset + at);
  const [right, bottom, left, top] = [8, 12, 16, 20].map((place) => view.getUint32(place)) as [number, number, number, number];
  return { width: right - left, height: bottom - top, components: view.getUint16(40), bits: (view.getUint8(42) & 127) + 1 };
}
