/** The compressed transfer syntaxes of DICOM: which decoder reads which. */
import type { Element } from "dicom-parser";

import { ImageError } from "../errors";
import { decodeJpeg, frameOf } from "./jpeg";
import { decodeJpeg2000 } from "./jpeg2000";
import { decodeJpegLossless } from "./jpegLossless";
import { decodeJpegLs } from "./jpegLs";
import { decodeRle } from "./rle";
import { checkFrame, type Attributes, type StoredValues } from "./tags";

type Decoder = (stream: Uint8Array<ArrayBuffer>, attributes: Attributes) => Promise<StoredValues>;

const JPEG_EXTENDED = "1.2.840.10008.1.2.4.51";
const DECODERS: Record<string, Decoder> = {
  "1.2.840.10008.1.2.5": async (stream, attributes) => decodeRle(stream, attributes),
  "1.2.840.10008.1.2.4.50": decodeBaseline,
  [JPEG_EXTENDED]: decodeBaseline,
  "1.2.840.10008.1.2.4.57": decodeJpegLossless,
  "1.2.840.10008.1.2.4.70": decodeJpegLossless,
  "1.2.840.10008.1.2.4.80": decodeJpegLs,
  "1.2.840.10008.1.2.4.81": decodeJpegLs,
  "1.2.840.10008.1.2.4.90": decodeJpeg2000,
  "1.2.840.10008.1.2.4.91": decodeJpeg2000,
};

/** Return the decoder of a file's compressed pixels, or undefined if there is none. */
export function decoderOf({ syntax, stored }: Attributes): Decoder | undefined {
  return syntax === JPEG_EXTENDED && stored !== 8 ? undefined : DECODERS[syntax]; // browsers read JPEG of 8 bits
}

/** Return the compressed image: all fragments in one, for a file of one frame. */
export function encapsulated(file: Uint8Array<ArrayBuffer>, element: Element): Uint8Array<ArrayBuffer> {
  const fragments = element.fragments ?? [];
  if (!fragments.length) throw new ImageError("not a complete DICOM file (its compressed pixels are not in fragments)");
  const whole = new Uint8Array(fragments.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const { position, length } of fragments) {
    whole.set(file.subarray(position, position + length), at);
    at += length;
  }
  return whole;
}

async function decodeBaseline(stream: Uint8Array<ArrayBuffer>, attributes: Attributes): Promise<StoredValues> {
  checkFrame(frameOf(stream), attributes);
  return (await decodeJpeg(stream, false)).pixels;
}
