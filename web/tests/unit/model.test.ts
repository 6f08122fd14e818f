import { describe, expect, test } from "vitest";

import { checkImage } from "../../src/model/checkImage";
import { readMetadata, thresholdOf } from "../../src/model/metadata";
import { checkSeal } from "../../src/model/seal";
import { entry, joined, metadata, onnxStart, sealed } from "../made";

const model = (changes = {}) => sealed(joined(onnxStart(), entry("cxr_kd", JSON.stringify(metadata(changes)))));

describe("the seal", () => {
  test("holds for a file as it was exported", async () => {
    await expect(checkSeal(model())).resolves.toBeUndefined();
  });

  test.each([10, 200, 330])("does not hold if byte %i was changed", async (position) => {
    const changed = model();
    changed[position]! ^= 1;
    await expect(checkSeal(changed)).rejects.toThrow("was changed after it was exported");
  });

  test("a file that was cut off at any place is refused; within a field it is called cut off", async () => {
    const whole = model();
    for (let length = 1; length < whole.length; length += 7) {
      await expect(checkSeal(whole.slice(0, length))).rejects.toThrow(/cut off|its end is missing/);
    }
    await expect(checkSeal(whole.slice(0, 100))).rejects.toThrow("cut off: it ends after 100 bytes");
  });

  test("other files are called no model of this project", async () => {
    await expect(checkSeal(onnxStart() as Uint8Array<ArrayBuffer>)).rejects.toThrow("no model of this project");
    await expect(checkSeal(new TextEncoder().encode("a text"))).rejects.toThrow("no model of this project");
    await expect(checkSeal(new Uint8Array())).rejects.toThrow("empty");
  });
});

describe("the metadata", () => {
  test("are those of the file", () => {
    const told = readMetadata(model());
    expect(told).toEqual(metadata());
    expect(thresholdOf(told.findings[0]!, "youden")).toBe(0.5);
    expect(thresholdOf(told.findings[0]!, "sensitivity")).toBeNull();
  });

  test("may be long, and may hold any letters", () => {
    const licence = "ü×".repeat(40_000);
    expect(readMetadata(model({ licence })).licence).toBe(licence);
  });

  test.each([
    [{ format: 2 }, "format version 2; this page reads version 1"],
    [{ findings: [] }, '"findings"'],
    [{ findings: [{ name: "Mass" }] }, '"findings"'],
    [{ image_size: "224" }, '"image_size"'],
    [{ intensity: "other" }, '"intensity"'],
    [{ known_answer: { logits: [1, 2], tolerance: 1 } }, '"known_answer"'],
  ])("with %j are refused", (changes, reason) => {
    expect(() => readMetadata(model(changes))).toThrow(reason);
  });

  test("must be there", () => {
    expect(() => readMetadata(sealed(onnxStart()))).toThrow("no model of this project");
    expect(() => readMetadata(sealed(joined(onnxStart(), entry("cxr_kd", "{"))))).toThrow("no JSON");
  });
});

test("the check image is drawn by its rule", () => {
  const image = checkImage(224);
  const at = (x: number, y: number) => image[y * 224 + x];
  expect(at(0, 0)).toBe(170);
  expect(at(69, 107)).toBe(60 + ((7 * 69 + 13 * 107 + ((69 * 107) % 31)) % 32)); // in the left lung
  expect(at(223, 223)).toBe(170 + ((7 * 223 + 13 * 223 + ((223 * 223) % 31)) % 32));
});
