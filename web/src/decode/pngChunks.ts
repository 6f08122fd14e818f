/** The chunks of a PNG file, each checked by its CRC-32: without this check, altered files give other pixels. */
import { ImageError } from "../errors";

export const PNG_SIGNATURE = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

export interface Chunk {
  name: string;
  content: Uint8Array<ArrayBuffer>;
}

/** Return the chunks of a PNG file up to IEND, the last one. What follows it is not looked at. */
export function chunksOf(file: Uint8Array<ArrayBuffer>): Chunk[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const chunks: Chunk[] = [];
  let at = PNG_SIGNATURE.length;
  while (chunks.at(-1)?.name !== "IEND") {
    if (at + 8 > file.length) throw new ImageError("not a complete PNG file (it ends without its last chunk, IEND)");
    const length = view.getUint32(at);
    const end = at + 8 + length;
    if (end + 4 > file.length) throw new ImageError("not a complete PNG file (it ends within a chunk)");
    const name = new TextDecoder("latin1").decode(file.subarray(at + 4, at + 8));
    if (crc32(file.subarray(at + 4, end)) !== view.getUint32(end)) {
      throw new ImageError(`not a complete PNG file (chunk '${name}' is damaged: its CRC does not match)`);
    }
    chunks.push({ name, content: file.subarray(at + 8, end) });
    at = end + 4;
  }
  return chunks;
}

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) crc = CRC_TABLE[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
