/** What the model says of one image, finding by finding, with the decisions at an operating point. */
import type { Row } from "./csv";
import type { Answer } from "./model/messages";
import { thresholdOf, type Metadata } from "./model/metadata";

const RULE = "youden"; // the operating point that is used: both errors count the same

/** Whether an image is too far from those that the model learned from for its findings to mean anything. */
export function isUnfamiliar({ distance }: Answer): boolean {
  return distance !== null && distance > 1;
}

export function rowsOf(image: string, answer: Answer, told: Metadata): Row[] {
  const undecided = isUnfamiliar(answer);
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
      present: threshold === null || undecided ? null : logit >= Math.fround(threshold),
    };
  });
}

export function decisionOf(row: Row): string {
  if (row.threshold === null) return "no operating point";
  if (row.present === null) return "not decided";
  return row.present ? "present" : "not called";
}

/** One line about an image for the list of images. */
export function summaryOf(rows: readonly Row[], answer: Answer): string {
  if (isUnfamiliar(answer)) return "unlike the training images";
  if (rows.every((row) => row.threshold === null)) return "no operating points";
  return rows.filter((row) => row.present).map((row) => row.finding).join(", ") || "none called present";
}
