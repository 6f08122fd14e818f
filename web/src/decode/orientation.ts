/** The orientation that EXIF data ask for, and its application. */
import type { Greys } from "../resize";

const ORIENTATION = 274; // tag of EXIF 2.32

/** Return the orientation in EXIF data (a TIFF header and its first directory): 1 to 8. 1, upright, if it states none. */
export function orientationOf(exif: Uint8Array): number {
  try {
    const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    for (let entry = 0; entry < view.getUint16(directory, little); entry++) {
      const at = directory + 2 + 12 * entry;
      if (view.getUint16(at, little) === ORIENTATION) {
        const value = view.getUint16(at + 8, little);
        return value >= 1 && value <= 8 ? value : 1;
      }
    }
  } catch (error) {
    // EXIF data that cannot be read count as none, as they do in viewers.
    if (!(error instanceof RangeError)) throw error;
  }
  return 1;
}

/** Return an image turned and mirrored as its EXIF orientation says. */
export function upright(image: Greys, orientation: number): Greys {
  if (orientation === 1) return image;
  const { width, height, pixels } = image;
  const swapped = orientation >= 5;
  const [newWidth, newHeight] = swapped ? [height, width] : [width, height];
  const turned = new Uint8Array(pixels.length);
  const [fromRight, fromBottom] = [[2, 3, 7, 8].includes(orientation), [3, 4, 6, 7].includes(orientation)];
  for (let y = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      const [column, row] = swapped ? [y, x] : [x, y];
      const oldColumn = fromRight ? width - 1 - column : column;
      const oldRow = fromBottom ? height - 1 - row : row;
      turned[y * newWidth + x] = pixels[oldRow * width + oldColumn]!;
    }
  }
  return { width: newWidth, height: newHeight, pixels: turned };
}
