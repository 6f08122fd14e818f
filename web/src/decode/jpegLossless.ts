/** Lossless JPEG (ISO/IEC 10918-1 annex H), in which most of the older digital radiographs are stored. */
import { ImageError } from "../errors";
import { checkEnd, frameOf } from "./jpeg";
import { checkFrame, type Attributes, type StoredValues } from "./tags";

export async function decodeJpegLossless(stream: Uint8Array<ArrayBuffer>, attributes: Attributes): Promise<StoredValues> {
  const frame = frameOf(stream);
  checkFrame(frame, attributes);
  checkEnd(stream);
  const { Decoder } = await import("jpeg-lossless-decoder-js");
  const decoder = new Decoder();
  let values: StoredValues | null;
  try {
    values = decoder.decode(stream.buffer, stream.byteOffset, stream.length, frame.bits > 8 ? 2 : 1);
  } catch {
    values = null; // the decoder throws errors of every type on damaged files
  }
  if (decoder.scan.al !== 0) throw new ImageError("lossless JPEG with a point transform, which this page does not read");
  const missing = attributes.rows * attributes.columns - (decoder.yLoc * attributes.columns + decoder.xLoc);
  // The decoder takes a last pixel whose code has no more bits for missing. Such a pixel is as predicted.
  if (values && missing === 1) values[values.length - 1] = decoder.selector!();
  if (!values || missing > 1) throw new ImageError("not a complete DICOM file (pixels of its lossless JPEG are missing)");
  return values;
}
