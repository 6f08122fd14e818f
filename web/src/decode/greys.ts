/** Numbers to 8-bit greys. */

/** Return `value` on the scale on which `low` is 0 and `high` is 255, as a whole number; 0 if `low` equals `high`. */
export function to8Bit(value: number, low: number, high: number): number {
  if (low === high) return 0;
  return Math.floor(Math.min(255, Math.max(0, ((value - low) * 255) / (high - low))) + 0.5);
}

/** The luminance of a colour (ITU-R 601), with the whole-number arithmetic of Pillow's conversion from RGB. */
export function luminance(red: number, green: number, blue: number): number {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

/** The lowest and the highest of many numbers. (Math.min(...values) fails on millions.) */
export function rangeOf(values: ArrayLike<number>): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (let position = 0; position < values.length; position++) {
    const value = values[position]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
