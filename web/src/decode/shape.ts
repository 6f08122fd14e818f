/** Refuse what no radiograph is, before memory for its pixels is taken. The rules are those of cxr_kd's resize.py. */
import { ImageError } from "../errors";
import type { Greys } from "../resize";

const MOST_PIXELS = 80_000_000;
const MOST_ASPECT = 50;

export function checkShape(width: number, height: number): void {
  if (width < 1 || height < 1) throw new ImageError(`${width}x${height}: no pixels`);
  if (width * height > MOST_PIXELS) {
    throw new ImageError(`${width}x${height}: over ${MOST_PIXELS.toLocaleString("en")} pixels: not a radiograph`);
  }
  if (Math.max(width, height) > MOST_ASPECT * Math.min(width, height)) {
    throw new ImageError(`${width}x${height}: one side is over ${MOST_ASPECT} times the other: not a radiograph`);
  }
}

export function checkNotUniform(image: Greys): void {
  const first = image.pixels[0];
  if (image.pixels.every((grey) => grey === first)) {
    throw new ImageError(`every pixel has the same grey (${first}): not a radiograph`);
  }
}
