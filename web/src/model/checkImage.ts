/** The image that every exported model can be checked with. It is drawn from whole numbers (docs/exported-model.md). */
export function checkImage(size: number): Uint8Array {
  const image = new Uint8Array(size * size);
  for (let y = 0; y < size; y++) {
    const v = Math.floor((1000 * y) / size);
    for (let x = 0; x < size; x++) {
      const u = Math.floor((1000 * x) / size);
      const lung = [310, 690].some((centre) => (u - centre) ** 2 * 84100 + (v - 480) ** 2 * 28900 < 2430490000);
      image[y * size + x] = (lung ? 60 : 170) + ((7 * x + 13 * y + ((x * y) % 31)) % 32);
    }
  }
  return image;
}
