/** What a model file says of itself: the JSON of its metadata entry "cxr_kd" (cxr_kd/device/onnx_file.py defines it). */
import { ModelError } from "../errors";
import { fieldsWithLength } from "./protobuf";

export type Intensity = "fixed" | "per-image";

export interface OperatingPoint {
  rule: string;
  logit: number;
  sensitivity: number;
  specificity: number;
}

export interface Finding {
  name: string;
  intercept: number | null;
  slope: number | null;
  operating_points: OperatingPoint[];
}

export interface Metadata {
  format: number;
  network: string;
  run: string;
  study: string;
  dataset: string;
  findings: Finding[];
  image_size: number;
  keep_aspect: boolean;
  intensity: Intensity;
  cells: [number, number];
  known_answer: { logits: number[]; tolerance: number };
  versions: Record<string, string>;
  use: string;
  licence: string;
}

const KEY = "cxr_kd";
const FORMAT = 1; // the version of the metadata that this page reads
const METADATA_PROPS = 14; // of ONNX's ModelProto; each entry has a key (field 1) and a value (field 2)
const AGAIN = "Export the model again with `cxr-kd export`, with the version that this page belongs to.";

/** Return the metadata in the bytes of a model file. */
export function readMetadata(file: Uint8Array): Metadata {
  const json = entry(file);
  if (json === undefined) {
    throw new ModelError(`This is no model of this project: its metadata has no entry "${KEY}".`);
  }
  let content: unknown;
  try {
    content = JSON.parse(json);
  } catch {
    throw new ModelError(`The metadata of the model is no JSON. ${AGAIN}`);
  }
  return checked(content);
}

function entry(file: Uint8Array): string | undefined {
  const text = new TextDecoder();
  try {
    for (const field of fieldsWithLength(file)) {
      if (field.number !== METADATA_PROPS) continue;
      const parts = new Map(Array.from(fieldsWithLength(field.bytes), (part) => [part.number, text.decode(part.bytes)]));
      if (parts.get(1) === KEY) return parts.get(2) ?? "";
    }
  } catch {
    throw new ModelError("The model file is damaged: its fields cannot be read.");
  }
  return undefined;
}

function checked(content: unknown): Metadata {
  const told = content as Metadata;
  if (!isObject(content)) throw new ModelError(`The metadata of the model is no object. ${AGAIN}`);
  if (content["format"] !== FORMAT) {
    throw new ModelError(
      `The model file has format version ${String(content["format"])}; this page reads version ${FORMAT}. ${AGAIN}`,
    );
  }
  const wrong = WANTED.find(([, holds]) => !holds(told));
  if (wrong) throw new ModelError(`The metadata of the model has no valid field "${wrong[0]}". ${AGAIN}`);
  return told;
}

const WANTED: [string, (told: Metadata) => boolean][] = [
  ...(["network", "run", "study", "dataset", "use", "licence"] as const).map(
    (name): [string, (told: Metadata) => boolean] => [name, (told) => typeof told[name] === "string"],
  ),
  ["findings", (told) => Array.isArray(told.findings) && told.findings.length > 0 && told.findings.every(isFinding)],
  ["image_size", (told) => Number.isInteger(told.image_size) && told.image_size > 0],
  ["keep_aspect", (told) => typeof told.keep_aspect === "boolean"],
  ["intensity", (told) => told.intensity === "fixed" || told.intensity === "per-image"],
  ["cells", (told) => Array.isArray(told.cells) && told.cells.length === 2 && told.cells.every(Number.isInteger)],
  [
    "known_answer",
    (told) =>
      isObject(told.known_answer) &&
      areNumbers(told.known_answer.logits) &&
      told.known_answer.logits.length === told.findings.length &&
      Number.isFinite(told.known_answer.tolerance),
  ],
];

function isFinding(finding: unknown): boolean {
  return (
    isObject(finding) &&
    typeof finding["name"] === "string" &&
    Array.isArray(finding["operating_points"]) &&
    finding["operating_points"].every((point) => isObject(point) && areNumbers([point["logit"]]))
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function areNumbers(values: unknown): values is number[] {
  return Array.isArray(values) && values.every((value) => Number.isFinite(value));
}

/** Return the logit from which on a finding is called present by a rule, or null if the model has no such point. */
export function thresholdOf(finding: Finding, rule: string): number | null {
  return finding.operating_points.find((point) => point.rule === rule)?.logit ?? null;
}

export function isCalibrated(told: Metadata): boolean {
  return told.findings.some((finding) => finding.intercept !== null);
}
