/**
 * The seal of a model file: its last bytes are one more metadata entry of ONNX, "sha256", with the SHA-256 of all bytes
 * before it (docs/exported-model.md). The seal shows damage. It does not say who wrote the file.
 */
import { ModelError } from "../errors";
import { CutOff, fieldsWithLength } from "./protobuf";

const START = new Uint8Array([0x72, 0x4a, 0x0a, 0x06, ...new TextEncoder().encode("sha256"), 0x12, 0x40]);
const HEX = 64;
const SEAL_BYTES = START.length + HEX;
const ONNX_BEGINS = 0x08; // the tag of ir_version, the first field of every ONNX file

/** Return if the seal of a model file holds; throw a ModelError that says what is wrong with the file if not. */
export async function checkSeal(file: Uint8Array<ArrayBuffer>): Promise<void> {
  const body = file.subarray(0, Math.max(0, file.length - SEAL_BYTES));
  const seal = file.subarray(body.length, body.length + START.length);
  if (seal.length < START.length || START.some((byte, position) => byte !== seal[position])) {
    throw new ModelError(whyNoSeal(file));
  }
  if (!globalThis.crypto?.subtle) {
    throw new ModelError(
      "The seal of the model cannot be checked: the browser computes SHA-256 only on pages of localhost or https. " +
        "Open the page with `npm run serve`.",
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
  const wanted = new TextDecoder("latin1").decode(file.subarray(-HEX));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== wanted) {
    throw new ModelError(
      "The model file was changed after it was exported: its SHA-256 differs. Copy it again, or export it again with " +
        "`cxr-kd export`.",
    );
  }
}

function whyNoSeal(file: Uint8Array): string {
  const other = "This is no model of this project: it was not written by `cxr-kd export`.";
  if (file[0] !== ONNX_BEGINS) return file.length === 0 ? "The model file is empty (0 bytes)." : other;
  try {
    for (const field of fieldsWithLength(file)) void field;
  } catch (error) {
    if (error instanceof CutOff) {
      return `The model file was cut off: it ends after ${file.length.toLocaleString("en")} bytes, within a field. Copy it again.`;
    }
  }
  return `${other} If it was, then its end is missing.`;
}
