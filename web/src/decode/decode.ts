/** Decode one radiograph, in any of the accepted kinds of file, to 8-bit greys. The content decides, not the name. */
import { ImageError } from "../errors";
import type { Intensity } from "../model/metadata";
import type { Greys } from "../resize";
import { decodeDicom, isBareDicom, isDicom } from "./dicom";
import { decodeJpeg } from "./jpeg";
import { decodePng } from "./png";
import { PNG_SIGNATURE } from "./pngChunks";
import { checkNotUniform } from "./shape";

const JPEG_SIGNATURE = new Uint8Array([0xff, 0xd8, 0xff]);

export async function decode(file: Uint8Array<ArrayBuffer>, intensity: Intensity): Promise<Greys> {
  const image = await decoded(file, intensity);
  checkNotUniform(image);
  return image;
}

async function decoded(file: Uint8Array<ArrayBuffer>, intensity: Intensity): Promise<Greys> {
  if (beginsWith(file, PNG_SIGNATURE)) return decodePng(file, intensity);
  if (beginsWith(file, JPEG_SIGNATURE)) return decodeJpeg(file, true);
  if (isDicom(file)) return decodeDicom(file, intensity);
  if (isBareDicom(file)) throw new ImageError("DICOM without its preamble (128 bytes and DICM); this page needs it");
  throw new ImageError(file.length ? "not a PNG, JPEG or DICOM file" : "the file is empty (0 bytes)");
}

function beginsWith(file: Uint8Array, signature: Uint8Array): boolean {
  return signature.every((byte, position) => file[position] === byte);
}
