/**
 * Which 8-bit grey each stored value of a DICOM radiograph becomes, as cxr_kd/data/images/dicom_greys.py does: the
 * modality step, the VOI step, the inversion of MONOCHROME1.
 */
import type { DataSet } from "dicom-parser";

import { ImageError } from "../errors";
import { rangeOf, to8Bit } from "./greys";
import { TAG, type Attributes } from "./tags";

/** Return the lowest and highest value that the stored bits allow. */
export function storedRange({ stored, signed }: Attributes): [number, number] {
  return signed ? [-(2 ** (stored - 1)), 2 ** (stored - 1) - 1] : [0, 2 ** stored - 1];
}

/** Return the grey of each stored value, from the lowest on; `shown`, a range of values, replaces the VOI step. */
export function greyTable(dataset: DataSet, attributes: Attributes, shown: [number, number] | null): Uint8Array {
  const [low, high] = storedRange(attributes);
  const stored = Float64Array.from({ length: high - low + 1 }, (_, position) => low + position);
  const values = modality(stored, dataset, attributes);
  const greys = shown
    ? scaled(values, ...rangeOf([values[shown[0] - low]!, values[shown[1] - low]!]))
    : voi(values, dataset);
  return attributes.inverted ? greys.map((grey) => 255 - grey) : greys;
}

/**
 * The data sets that may hold a step's attributes: of an enhanced object with one frame, those of its functional groups
 * (the frame's own count most), then the file's own.
 */
function holders(dataset: DataSet, macro: string): DataSet[] {
  const inner = [TAG.perFrameGroups, TAG.sharedGroups].flatMap((groups) =>
    itemsOf(dataset, groups).flatMap((group) => itemsOf(group, macro)),
  );
  return [...inner, dataset];
}

function itemsOf(dataset: DataSet, tag: string): DataSet[] {
  return (dataset.elements[tag]?.items ?? []).flatMap((item) => (item.dataSet ? [item.dataSet] : []));
}

function numberOf(among: DataSet[], tag: string): number | undefined {
  return among.map((each) => each.floatString(tag, 0)).find((value) => value !== undefined && !Number.isNaN(value));
}

function modality(stored: Float64Array, dataset: DataSet, attributes: Attributes): Float64Array {
  const [table] = itemsOf(dataset, TAG.modalityTables);
  if (table) {
    const { entries, first } = lookupTable(table, attributes.signed);
    return stored.map((value) => lookedUp(entries, first, value));
  }
  const among = holders(dataset, TAG.pixelValueTransformation);
  const slope = numberOf(among, TAG.rescaleSlope);
  const intercept = numberOf(among, TAG.rescaleIntercept);
  if (slope === undefined || intercept === undefined) return stored;
  return stored.map((value) => value * slope + intercept);
}

function voi(values: Float64Array, dataset: DataSet): Uint8Array {
  const among = holders(dataset, TAG.frameVoi);
  const table = among.flatMap((each) => itemsOf(each, TAG.voiTables))[0];
  if (table) {
    const { entries, first, bits } = lookupTable(table, values.some((value) => value < 0));
    return scaled(values.map((value) => lookedUp(entries, first, Math.round(value))), 0, 2 ** bits - 1);
  }
  const centre = numberOf(among, TAG.windowCentre);
  const width = numberOf(among, TAG.windowWidth);
  if (centre === undefined || width === undefined) return scaled(values, ...rangeOf(values));
  const name = among.map((each) => each.string(TAG.voiFunction)).find(Boolean) ?? "LINEAR";
  return scaled(values.map(windowFunction(centre, width, name.toUpperCase())), 0, 1);
}

/** The functions of PS3.3 C.11.2.1.2 and C.11.2.1.3: 0 is black and 1 is white. */
function windowFunction(centre: number, width: number, name: string): (value: number) => number {
  if (width <= 0 || (name === "LINEAR" && width < 1)) throw new ImageError(`DICOM with a window width of ${width}`);
  if (name === "SIGMOID") return (value) => 1 / (1 + Math.exp((-4 * (value - centre)) / width));
  if (name === "LINEAR" && width === 1) return (value) => (value > centre - 0.5 ? 1 : 0);
  const [middle, span] = name === "LINEAR" ? [centre - 0.5, width - 1] : [centre, width];
  return (value) => Math.min(1, Math.max(0, (value - middle) / span + 0.5));
}

function scaled(values: Float64Array, low: number, high: number): Uint8Array {
  return Uint8Array.from(values, (value) => to8Bit(value, low, high));
}

interface LookupTable {
  entries: Uint16Array;
  /** The value that the first entry is for; lower ones also get it. */
  first: number;
  bits: number;
}

function lookupTable(item: DataSet, signed: boolean): LookupTable {
  const length = item.uint16(TAG.lookupDescriptor, 0) || 2 ** 16;
  const first = (signed ? item.int16 : item.uint16).call(item, TAG.lookupDescriptor, 1) ?? 0;
  const bits = item.uint16(TAG.lookupDescriptor, 2) ?? 16;
  const entries = Uint16Array.from({ length }, (_, position) => {
    const entry = item.uint16(TAG.lookupData, position);
    if (entry === undefined) throw new ImageError(`a lookup table of ${length} entries ends at ${position}`);
    return entry;
  });
  return { entries, first, bits };
}

function lookedUp(entries: Uint16Array, first: number, value: number): number {
  return entries[Math.min(entries.length - 1, Math.max(0, value - first))]!;
}
