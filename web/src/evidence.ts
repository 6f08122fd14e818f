/** Maps of evidence: their one scale, their colours, and their drawing over a radiograph. */

/** Maps of one image, (findings, height, width): evidence in logits, for a finding above 0 and against it below. */
export interface Evidence {
  values: Float32Array;
  height: number;
  width: number;
}

export function mapOf(evidence: Evidence, finding: number): Float32Array {
  const cells = evidence.height * evidence.width;
  return evidence.values.subarray(finding * cells, (finding + 1) * cells);
}

/** Return the top of the colour scale: the largest evidence for any finding of an image. 0: there is none. */
export function scaleTop(evidence: Evidence): number {
  return evidence.values.reduce((top, value) => Math.max(top, value), 0);
}

/** Return where the strongest evidence for a finding is, or null if there is none for it. */
export function strongest(evidence: Evidence, finding: number): { value: number; row: number; column: number } | null {
  const map = mapOf(evidence, finding);
  const value = map.reduce((top, each) => Math.max(top, each), 0);
  if (value <= 0) return null;
  const cell = map.indexOf(value);
  return { value, row: Math.floor(cell / evidence.width), column: cell % evidence.width };
}

/**
 * Return a map in a larger size, bilinear. The value of a cell is at the centre of the cell, and is kept beyond the
 * centres of the outer cells: as PyTorch's interpolate(mode="bilinear", align_corners=False) does.
 */
export function upsampled(map: Float32Array, height: number, width: number, toHeight: number, toWidth: number): Float32Array {
  const rows = neighbours(height, toHeight);
  const columns = neighbours(width, toWidth);
  const large = new Float32Array(toHeight * toWidth);
  rows.forEach(([top, bottom, down], y) => {
    columns.forEach(([left, right, across], x) => {
      const above = map[top * width + left]! * (1 - across) + map[top * width + right]! * across;
      const below = map[bottom * width + left]! * (1 - across) + map[bottom * width + right]! * across;
      large[y * toWidth + x] = above * (1 - down) + below * down;
    });
  });
  return large;
}

function neighbours(from: number, to: number): [number, number, number][] {
  return Array.from({ length: to }, (_, position) => {
    const place = Math.max(0, ((position + 0.5) * from) / to - 0.5);
    const first = Math.min(from - 1, Math.floor(place));
    return [first, Math.min(from - 1, first + 1), place - first];
  });
}

// Matplotlib's YlOrRd (ColorBrewer), as the project's own figures use it: from yellow to dark red.
const COLOURS = [0xffffcc, 0xffeda0, 0xfed976, 0xfeb24c, 0xfd8d3c, 0xfc4e2a, 0xe31a1c, 0xbd0026, 0x800026].map(
  (colour) => [colour >> 16, (colour >> 8) & 255, colour & 255] as const,
);

/**
 * Return red, green, blue (0 to 255) and opacity (0 to 1) of evidence; no evidence has no colour. They are those of
 * cxr_kd/report/overlays.py.
 */
export function colourOf(value: number, top: number): [number, number, number, number] {
  if (!(value > 0) || !(top > 0)) return [0, 0, 0, 0];
  const share = Math.min(1, value / top);
  const place = (0.05 + 0.95 * share) * (COLOURS.length - 1);
  const first = Math.min(COLOURS.length - 2, Math.floor(place));
  const [low, high] = [COLOURS[first]!, COLOURS[first + 1]!];
  const mixed = (channel: 0 | 1 | 2) => low[channel] + (high[channel] - low[channel]) * (place - first);
  return [mixed(0), mixed(1), mixed(2), 0.85 * share ** 0.6];
}
