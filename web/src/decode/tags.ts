/** The attributes of a DICOM file that its greys depend on, and its values before they become greys. */
import { ImageError } from "../errors";
import type { Frame } from "./jpeg";

export const TAG = {
  transferSyntax: "x00020010",
  samplesPerPixel: "x00280002",
  photometric: "x00280004",
  frames: "x00280008",
  rows: "x00280010",
  columns: "x00280011",
  bitsAllocated: "x00280100",
  bitsStored: "x00280101",
  highBit: "x00280102",
  pixelRepresentation: "x00280103",
  windowCentre: "x00281050",
  windowWidth: "x00281051",
  rescaleIntercept: "x00281052",
  rescaleSlope: "x00281053",
  voiFunction: "x00281056",
  modalityTables: "x00283000",
  lookupDescriptor: "x00283002",
  lookupData: "x00283006",
  voiTables: "x00283010",
  pixelData: "x7fe00010",
  sharedGroups: "x52009229",
  perFrameGroups: "x52009230",
  pixelValueTransformation: "x00289145",
  frameVoi: "x00289132",
} as const;

export interface Attributes {
  syntax: string;
  rows: number;
  columns: number;
  allocated: number;
  stored: number;
  signed: boolean;
  /** MONOCHROME1: the lowest value is white. */
  inverted: boolean;
}

/** Row by row, one per pixel, as they are in the file. */
export type StoredValues = Uint8Array | Uint16Array;

/** Refuse a compressed image that states another shape than its file, before a decoder takes the memory for it. */
export function checkFrame({ width, height, components, bits }: Frame, { rows, columns }: Attributes): void {
  if (width !== columns || height !== rows || components !== 1) {
    throw new ImageError(
      `the compressed image has ${height} rows, ${width} columns and ${components} values per pixel, ` +
        `but its file says ${rows}, ${columns} and 1`,
    );
  }
  if (bits > 16) throw new ImageError(`a compressed image of ${bits} bits; this page reads 1 to 16`);
}
