/** RLE of DICOM (PS3.5 annex G): one segment per byte of the values, the highest byte first. */
import { ImageError } from "../errors";
import type { Attributes, StoredValues } from "./tags";

export function decodeRle(frame: Uint8Array, { rows, columns, allocated }: Attributes): StoredValues {
  const count = rows * columns;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const segments = view.getUint32(0, true);
  if (segments !== allocated / 8) throw new ImageError(`RLE with ${segments} segments for ${allocated} bits`);
  const start = (segment: number) => (segment < segments ? view.getUint32(4 + 4 * segment, true) : frame.length);
  const bytes = Array.from({ length: segments }, (_, at) => unpackedBits(frame.subarray(start(at), start(at + 1)), count));
  const [high, low] = bytes;
  return low ? Uint16Array.from(high!, (byte, at) => (byte << 8) | low[at]!) : high!;
}

function unpackedBits(packed: Uint8Array, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  let [from, to] = [0, 0];
  while (to < count && from < packed.length) {
    const control = packed[from++]!;
    if (control === 128) continue;
    const length = Math.min(control < 128 ? control + 1 : 257 - control, count - to);
    if (control < 128) {
      bytes.set(packed.subarray(from, from + length), to);
      from += control + 1;
    } else bytes.fill(packed[from++]!, to, to + length);
    to += length;
  }
  if (to < count || from > packed.length) throw new ImageError("not a complete DICOM file (RLE pixels are missing)");
  return bytes;
}
