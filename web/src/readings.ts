/** What the model says of one image, finding by finding, with the decisions at an operating point. */
import type { Row } from "./csv";
import type { Answer } from "./model/messages";
import { thresholdOf, type Metadata } from "./model/metadata";

const RULE = "youden"; // the operating point that is used: both errors count the same

export function rowsOf(image: string, answer: Answer, told: Metadata): Row[] {
  return told.findings.map((finding, position) => {
    const logit = answer.logits[position]!;
    const probability = answer.probabilities[position]!;
    const threshold = thresholdOf(finding, RULE);
    return {
      image,
      finding: finding.name,
      logit,
      probability: Number.isNaN(probability) ? null : probability,
      threshold,
      // Both in float32, as `cxr-kd predict` compares them.
      present: threshold === null ? null : logit >= Math.fround(threshold),
    };
  });
}

export function decisionOf(row: Row): string {
  if (row.present === null) return "no operating point";
  return row.present ? "present" : "not called";
}

export function calledPresent(rows: readonly Row[]): string {
  if (rows.every((row) => row.present === null)) return "no operating points";
  return rows.filter((row) => row.present).map((row) => row.finding).join(", ") || "none called present";
}
