/** Get the stored values out of a DICOM file, as cxr_kd/data/images/dicom.py does; dicomGreys.ts gives them their greys. */
import { parseDicom, type DataSet, type Element } from "dicom-parser";

import { ImageError, reasonOf } from "../errors";
import type { Intensity } from "../model/metadata";
import type { Greys } from "../resize";
import { decoderOf, encapsulated } from "./compressed";
import { greyTable, storedRange } from "./dicomGreys";
import { rangeOf } from "./greys";
import { checkShape } from "./shape";
import { TAG, type Attributes, type StoredValues } from "./tags";

const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const UNCOMPRESSED = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN];
const DEFLATED = "1.2.840.10008.1.2.1.99";
const NAMES: Record<string, string> = {
  [DEFLATED]: "Deflated Explicit VR Little Endian",
  "1.2.840.10008.1.2.4.51": "JPEG Extended",
  "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 Lossless",
  "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 with RPCL Options Lossless",
  "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
};
const BARE_GROUPS = [0x02, 0x08]; // the first groups of a file without the preamble
const OVERLAY_GROUPS = Array.from({ length: 16 }, (_, position) => 0x6000 + 2 * position);

export function isDicom(file: Uint8Array): boolean {
  return String.fromCharCode(...file.subarray(128, 132)) === "DICM";
}

/** Whether a file looks like DICOM without the preamble. */
export function isBareDicom(file: Uint8Array): boolean {
  const [group, high, element, elementHigh] = file;
  return BARE_GROUPS.includes(group ?? -1) && high === 0 && [0, 1, 5, 16].includes(element ?? -1) && elementHigh === 0;
}

export async function decodeDicom(file: Uint8Array<ArrayBuffer>, intensity: Intensity): Promise<Greys> {
  try {
    return await decoded(file, intensity);
  } catch (error) {
    if (error instanceof ImageError) throw error;
    // The parser's errors have no common class.
    throw new ImageError(`not a complete, readable DICOM file (${String((error as Error)?.message ?? error).slice(0, 200)})`);
  }
}

async function decoded(file: Uint8Array<ArrayBuffer>, intensity: Intensity): Promise<Greys> {
  const dataset = parsed(file);
  const attributes = attributesOf(dataset);
  const values = await storedValues(file, dataset, attributes);
  const [low] = storedRange(attributes);
  const table = greyTable(dataset, attributes, intensity === "per-image" ? rangeOf(values) : null);
  const pixels = new Uint8Array(values.length);
  for (let at = 0; at < pixels.length; at++) pixels[at] = table[values[at]! - low]!;
  return { width: attributes.columns, height: attributes.rows, pixels };
}

function parsed(file: Uint8Array): DataSet {
  try {
    return parseDicom(file, {
      inflater: () => {
        throw notSupported(DEFLATED, "");
      },
    });
  } catch (error) {
    // The parser puts its errors, and those of the inflater, into objects of its own.
    if (error instanceof ImageError) throw error;
    const inner = (error as { exception?: unknown })?.exception ?? error;
    throw new ImageError(`not a complete, readable DICOM file (${reasonOf(inner).slice(0, 200)})`);
  }
}

function notSupported(syntax: string, bits: string): ImageError {
  return new ImageError(
    `DICOM ${bits}in the transfer syntax ${NAMES[syntax] ?? "of an unknown name"} (${syntax}), which this page does not ` +
      "read; convert it to an uncompressed syntax, or use `cxr-kd predict`",
  );
}

function attributesOf(dataset: DataSet): Attributes {
  const element = dataset.elements[TAG.pixelData];
  if (!element || (element.length === 0 && !element.fragments?.length)) {
    throw new ImageError("DICOM without pixel data (a report or a presentation state, or cut off before it)");
  }
  const frames = dataset.intString(TAG.frames) ?? 1;
  if (frames !== 1) throw new ImageError(`DICOM of ${frames} frames; this page reads single radiographs`);
  const colours = dataset.string(TAG.photometric);
  const perPixel = dataset.uint16(TAG.samplesPerPixel) ?? 1;
  if ((colours !== "MONOCHROME1" && colours !== "MONOCHROME2") || perPixel !== 1) {
    throw new ImageError(
      `DICOM of photometric interpretation '${colours}' with ${perPixel} values per pixel; a radiograph has one, ` +
        "MONOCHROME1 or MONOCHROME2",
    );
  }
  const number = (tag: string, name: string): number => {
    const value = dataset.uint16(tag);
    if (value === undefined) throw new ImageError(`DICOM without ${name}`);
    return value;
  };
  const attributes: Attributes = {
    syntax: dataset.string(TAG.transferSyntax) ?? "",
    rows: number(TAG.rows, "Rows"),
    columns: number(TAG.columns, "Columns"),
    allocated: number(TAG.bitsAllocated, "Bits Allocated"),
    stored: number(TAG.bitsStored, "Bits Stored"),
    signed: dataset.uint16(TAG.pixelRepresentation) === 1,
    inverted: colours === "MONOCHROME1",
  };
  checkBits(attributes, dataset.uint16(TAG.highBit));
  checkShape(attributes.columns, attributes.rows);
  return attributes;
}

function checkBits({ allocated, stored }: Attributes, highBit: number | undefined): void {
  if (stored < 1 || stored > 16) throw new ImageError(`DICOM with ${stored} bits stored; this page reads 1 to 16`);
  if ((allocated !== 8 && allocated !== 16) || stored > allocated) {
    throw new ImageError(`DICOM with ${stored} bits stored in ${allocated}; this page reads 8 and 16 bits allocated`);
  }
  if (highBit !== undefined && highBit !== stored - 1) {
    throw new ImageError(`DICOM with ${stored} bits stored and the high bit ${highBit}; this page reads pixels in the lowest bits`);
  }
}

/** Return the stored values, decoded, row by row. */
async function storedValues(
  file: Uint8Array<ArrayBuffer>, dataset: DataSet, attributes: Attributes,
): Promise<StoredValues | Int16Array> {
  const { syntax, stored, signed } = attributes;
  const element = dataset.elements[TAG.pixelData]!;
  const decoder = decoderOf(attributes);
  let values: StoredValues;
  if (UNCOMPRESSED.includes(syntax)) {
    values = uncompressed(file, element, attributes);
    if (!signed) checkUnusedBits(values, stored, dataset);
  } else if (decoder) values = await decoder(encapsulated(file, element), attributes);
  else throw notSupported(syntax, `of ${stored} bits `);
  const shift = 32 - stored; // of JavaScript's 32-bit whole numbers: it removes the bits above those stored
  if (signed) return Int16Array.from(values, (value) => (value << shift) >> shift);
  return values.map((value) => (value << shift) >>> shift);
}

function uncompressed(file: Uint8Array, element: Element, { rows, columns, allocated, syntax }: Attributes): StoredValues {
  const bytes = (rows * columns * allocated) / 8;
  if (element.length < bytes || element.dataOffset + bytes > file.length) {
    throw new ImageError(`not a complete DICOM file (${element.length.toLocaleString("en")} of ${bytes.toLocaleString("en")} bytes of pixels)`);
  }
  if (allocated === 8) {
    if (syntax === BIG_ENDIAN && element.vr === "OW") throw notSupported(syntax, "of 8 bits in 16-bit words ");
    return file.subarray(element.dataOffset, element.dataOffset + bytes);
  }
  const view = new DataView(file.buffer, file.byteOffset + element.dataOffset, bytes);
  const values = new Uint16Array(rows * columns);
  for (let at = 0; at < values.length; at++) values[at] = view.getUint16(2 * at, syntax !== BIG_ENDIAN);
  return values;
}

/** Above the stored bits, unsigned values may have only overlays. Others mean that the stated numbers are wrong. */
function checkUnusedBits(values: StoredValues, stored: number, dataset: DataSet): void {
  let [found, overlays] = [0, 0];
  for (let at = 0; at < values.length; at++) found |= values[at]!;
  for (const group of OVERLAY_GROUPS) {
    const position = dataset.uint16(`x${group.toString(16)}0102`);
    if (position !== undefined) overlays |= 1 << position;
  }
  if (found & ~(2 ** stored - 1) & ~overlays) {
    throw new ImageError(
      `DICOM with ${stored} bits stored and values of ${32 - Math.clz32(found)} bits, which no overlay explains`,
    );
  }
}
