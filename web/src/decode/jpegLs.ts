/** JPEG-LS (ISO/IEC 14495-1), lossless and near-lossless, decoded by CharLS. */
import address from "@cornerstonejs/codec-charls/decodewasm?url";

import { checkEnd, frameOf } from "./jpeg";
import { checkFrame, type Attributes, type StoredValues } from "./tags";
import { WasmCodec } from "./wasmCodec";

const codec = new WasmCodec(() => import("@cornerstonejs/codec-charls/decodewasmjs"), address, "JpegLSDecoder");

export async function decodeJpegLs(stream: Uint8Array, attributes: Attributes): Promise<StoredValues> {
  checkFrame(frameOf(stream), attributes);
  checkEnd(stream);
  return codec.decode(stream, attributes.rows * attributes.columns);
}
