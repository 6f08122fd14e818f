import { expect, test } from "vitest";

import { csvOf } from "../../src/csv";
import { colourOf, scaleTop, strongest, upsampled } from "../../src/evidence";

test("a larger map has the values that PyTorch's interpolate gives", () => {
  // torch.nn.functional.interpolate(torch.tensor([[[[0., 4.], [8., 2.]]]]), (4, 4), mode="bilinear")
  const wanted = [0, 1, 3, 4, 2, 2.375, 3.125, 3.5, 6, 5.125, 3.375, 2.5, 8, 6.5, 3.5, 2];
  expect([...upsampled(Float32Array.of(0, 4, 8, 2), 2, 2, 4, 4)]).toEqual(wanted);
});

test("maps share one scale, and no evidence has no colour", () => {
  const evidence = { values: Float32Array.of(-3, -1, 0.5, 0, 2, 1, -9, 0), height: 2, width: 2 };
  expect(scaleTop(evidence)).toBe(2);
  expect(strongest(evidence, 0)).toEqual({ value: 0.5, row: 1, column: 0 });
  expect(strongest({ ...evidence, values: Float32Array.of(-1, -2, -3, 0) }, 0)).toBeNull();
  expect([colourOf(0, 2)[3], colourOf(-1, 2)[3], colourOf(1, 0)[3], colourOf(NaN, 2)[3]]).toEqual([0, 0, 0, 0]);
  expect(colourOf(2, 2)).toEqual([0x80, 0, 0x26, 0.85]);
  expect(colourOf(1, 2)).not.toEqual(colourOf(0.5, 2));
});

test("the CSV table has the columns of cxr-kd predict and quotes names", () => {
  const rows = [
    { image: 'a "b", c.png', finding: "Mass", logit: 0.5, probability: 0.25, threshold: -1, present: true },
    { image: "d.png", finding: "Mass", logit: -2, probability: null, threshold: null, present: null },
  ];
  expect(csvOf(rows)).toBe(
    'image,finding,logit,probability,threshold,present\n"a ""b"", c.png",Mass,0.5,0.25,-1,True\nd.png,Mass,-2,,,\n',
  );
});
