/** The folder that make_fixtures.py wrote, named by CXR_KD_WEB_FIXTURES. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface GreysCase {
  file: string;
  size: number;
  keep_aspect: boolean;
  intensity: "fixed" | "per-image";
  greys: string;
}

export interface Expected {
  /** px of the images that the models take. */
  size: number;
  /** Names of the real radiographs among the images. */
  real: string[];
  /** Model, file: logits. */
  logits: Record<"model" | "int8", Record<string, number[]>>;
  greys: GreysCase[];
}

export const FIXTURES = process.env["CXR_KD_WEB_FIXTURES"];

export const expected: Expected | null =
  FIXTURES && existsSync(join(FIXTURES, "expected.json"))
    ? (JSON.parse(readFileSync(join(FIXTURES, "expected.json"), "utf8")) as Expected)
    : null;

export const SKIPPED = "skipped: CXR_KD_WEB_FIXTURES does not name a folder that make_fixtures.py wrote";
