/**
 * Another size for 8-bit greys, with the pixels that cxr_kd/data/images/resize.py gives: the area mean along a side that
 * is reduced, Pillow's bilinear interpolation along a side that is enlarged.
 */

export interface Greys {
  width: number;
  height: number;
  /** Row by row, one byte per pixel. */
  pixels: Uint8Array;
}

/** Return `image` as (size, size). With `keepAspect` the longer side is fitted and the image is centred on black. */
export function resized(image: Greys, size: number, keepAspect: boolean): Greys {
  const longer = Math.max(image.width, image.height);
  const fitted = (side: number) => Math.max(1, roundHalfEven((side * size) / (keepAspect ? longer : side)));
  const width = fitted(image.width);
  const height = fitted(image.height);
  const reduced = areaMean(image, Math.min(width, image.width), Math.min(height, image.height));
  const small = enlarged(reduced, width, height);
  if (width === size && height === size) return small;
  const canvas = new Uint8Array(size * size);
  const top = Math.floor((size - height) / 2);
  const left = Math.floor((size - width) / 2);
  for (let y = 0; y < height; y++) {
    canvas.set(small.pixels.subarray(y * width, (y + 1) * width), (top + y) * size + left);
  }
  return { width: size, height: size, pixels: canvas };
}

/** Python's round: a number in the middle goes to the even neighbour. */
function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

interface Part {
  first: number;
  /** How much of each pixel from `first` on lies in this part, in units that make all of them whole numbers. */
  weights: number[];
}

/** Return which of `length` pixels lie in each of `size` equal parts of their row. */
function coverage(length: number, size: number): Part[] {
  const divisor = greatestCommonDivisor(length, size);
  const pixel = size / divisor;
  const part = length / divisor;
  return Array.from({ length: size }, (_, position) => {
    const [start, end] = [position * part, (position + 1) * part];
    const first = Math.floor(start / pixel);
    const last = Math.ceil(end / pixel);
    const weights = Array.from({ length: last - first }, (_, offset) => {
      const left = (first + offset) * pixel;
      return Math.min(end, left + pixel) - Math.max(start, left);
    });
    return { first, weights };
  });
}

/** Return the area mean. The float32 roundings are those of resize.py, so that no pixel differs by rounding. */
function areaMean(image: Greys, width: number, height: number): Greys {
  if (width === image.width && height === image.height) return image;
  const across = coverage(image.width, width);
  const scale = Math.fround(1 / (partLength(image.width, width) * partLength(image.height, height)));
  const pixels = new Uint8Array(width * height);
  const sums = new Float32Array(image.width);
  coverage(image.height, height).forEach(({ first, weights }, y) => {
    sums.fill(0);
    weights.forEach((weight, offset) => {
      const row = (first + offset) * image.width;
      for (let x = 0; x < image.width; x++) sums[x]! += weight * image.pixels[row + x]!;
    });
    across.forEach((part, x) => {
      let sum = 0;
      for (let offset = 0; offset < part.weights.length; offset++) {
        sum = Math.fround(sum + Math.fround(part.weights[offset]! * sums[part.first + offset]!));
      }
      pixels[y * width + x] = Math.fround(Math.fround(sum * scale) + 0.5);
    });
  });
  return { width, height, pixels };
}

function partLength(length: number, size: number): number {
  return length / greatestCommonDivisor(length, size);
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Return `image` in a size that is nowhere smaller, with the whole-number arithmetic of Pillow's Image.resize. */
function enlarged(image: Greys, width: number, height: number): Greys {
  const wide = width === image.width ? image : widened(image, width);
  return height === image.height ? wide : turned(widened(turned(wide), height));
}

const PRECISION = 2 ** 22; // of the weights in Pillow's Resample.c

function widened(image: Greys, width: number): Greys {
  const pixels = new Uint8Array(width * image.height);
  const scale = image.width / width;
  for (let x = 0; x < width; x++) {
    const centre = (x + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - 1 + 0.5));
    const end = Math.min(image.width, Math.trunc(centre + 1 + 0.5));
    const shares = Array.from({ length: end - first }, (_, offset) =>
      Math.max(0, 1 - Math.abs(first + offset - centre + 0.5)),
    );
    const total = shares.reduce((sum, share) => sum + share, 0);
    const weights = shares.map((share) => Math.trunc(0.5 + (share / total) * PRECISION));
    for (let y = 0; y < image.height; y++) {
      let sum = PRECISION / 2;
      weights.forEach((weight, offset) => (sum += weight * image.pixels[y * image.width + first + offset]!));
      pixels[y * width + x] = Math.min(255, Math.floor(sum / PRECISION));
    }
  }
  return { width, height: image.height, pixels };
}

function turned(image: Greys): Greys {
  const pixels = new Uint8Array(image.pixels.length);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) pixels[x * image.height + y] = image.pixels[y * image.width + x]!;
  }
  return { width: image.height, height: image.width, pixels };
}
