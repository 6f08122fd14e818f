/** Decode JPEG with the browser's decoder. */
import { ImageError } from "../errors";
import type { Greys } from "../resize";
import { luminance } from "./greys";
import { checkShape } from "./shape";

/** What a compressed image states of itself. */
export interface Frame {
  width: number;
  height: number;
  components: number;
  bits: number;
}

/**
 * Return the image of a JPEG file in 8-bit greys; colour becomes luminance. `turn`: as its EXIF orientation says.
 * What it stores of colour profiles is not applied, as in Python.
 */
export async function decodeJpeg(file: Uint8Array<ArrayBuffer>, turn: boolean): Promise<Greys> {
  const frame = frameOf(file);
  checkShape(frame.width, frame.height);
  if (frame.components === 4) throw new ImageError("JPEG in CMYK; this page reads grey and colour JPEG");
  if (frame.bits !== 8) throw new ImageError(`JPEG of ${frame.bits} bits; the browser reads 8 bits`);
  checkEnd(file);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(new Blob([file], { type: "image/jpeg" }), {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
      imageOrientation: turn ? "from-image" : "none",
    });
  } catch {
    throw new ImageError("not a complete JPEG file (the browser cannot decode it)");
  }
  return greysOf(bitmap);
}

function greysOf(bitmap: ImageBitmap): Greys {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new ImageError("the browser gives no canvas of this size");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(width * height);
  for (let at = 0; at < pixels.length; at++) pixels[at] = luminance(data[4 * at]!, data[4 * at + 1]!, data[4 * at + 2]!);
  return { width, height, pixels };
}

const START_OF_JPEG_LS_FRAME = 0xf7;

/** Return what the frame header states, of JPEG or JPEG-LS, before a decoder takes the memory that it asks for. */
export function frameOf(file: Uint8Array): Frame {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 2; at + 10 <= file.length && file[at] === 0xff; ) {
    const marker = file[at + 1]!;
    const starts = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (starts || marker === START_OF_JPEG_LS_FRAME) {
      return { bits: file[at + 4]!, height: view.getUint16(at + 5), width: view.getUint16(at + 7), components: file[at + 9]! };
    }
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
  throw new ImageError("not a complete JPEG file (it has no frame header)");
}

/**
 * Refuse a JPEG or JPEG-LS that was cut off: it has no last marker. Browsers draw what there is and leave the rest grey;
 * other decoders need long to notice it.
 */
export function checkEnd(file: Uint8Array): void {
  for (let at = file.length - 2; at > 2; at--) if (file[at] === 0xff && file[at + 1] === 0xd9) return;
  throw new ImageError("not a complete JPEG file (it ends without its last marker)");
}
