/** Draw greys, and a map of evidence over them, on a canvas. */
import { colourOf, upsampled } from "../evidence";
import type { Greys } from "../resize";

export interface Overlay {
  map: Float32Array;
  height: number;
  width: number;
  /** The evidence that has the last colour of the scale. */
  top: number;
}

export function drawRadiograph(canvas: HTMLCanvasElement, greys: Greys, overlay: Overlay | null): void {
  canvas.width = greys.width;
  canvas.height = greys.height;
  const drawn = new ImageData(greys.width, greys.height);
  const evidence = overlay && upsampled(overlay.map, overlay.height, overlay.width, greys.height, greys.width);
  for (let at = 0; at < greys.pixels.length; at++) {
    const grey = greys.pixels[at]!;
    drawn.data.set(evidence ? blended(grey, evidence[at]!, overlay!.top) : [grey, grey, grey, 255], 4 * at);
  }
  canvas.getContext("2d")?.putImageData(drawn, 0, 0);
}

/** Draw the colour scale from 0 to its top, over a middle grey. */
export function drawColourBar(canvas: HTMLCanvasElement): void {
  const [width, height] = [256, 1];
  canvas.width = width;
  canvas.height = height;
  const drawn = new ImageData(width, height);
  for (let x = 0; x < width; x++) drawn.data.set(blended(128, x, width - 1), 4 * x);
  canvas.getContext("2d")?.putImageData(drawn, 0, 0);
}

function blended(grey: number, evidence: number, top: number): [number, number, number, number] {
  const [red, green, blue, opacity] = colourOf(evidence, top);
  const over = (colour: number) => colour * opacity + grey * (1 - opacity);
  return [over(red), over(green), over(blue), 255];
}
