/** What the page and the worker that runs the model say to each other. */
import type { Evidence } from "../evidence";
import type { Greys } from "../resize";
import type { Metadata } from "./metadata";

export type Request =
  | { kind: "load"; file: Blob }
  | { kind: "read"; file: Blob }
  | { kind: "picture"; file: Blob; side: number };

export interface LoadedModel {
  metadata: Metadata;
  bytes: number;
  threads: number;
  /** The largest difference of a logit of the check image from the known answer. */
  difference: number;
}

export interface Answer {
  logits: Float32Array;
  /** NaN for a finding that is not calibrated. */
  probabilities: Float32Array;
  evidence: Evidence;
  /** From the training images, in units of the limit; null if the model does not tell it. */
  distance: number | null;
  /** The radiograph as the network saw it. */
  seen: Greys;
  milliseconds: { decode: number; network: number };
}

/** A radiograph to show, as large as asked for; `aspect` is the width by the height of what the picture stands for. */
export interface Picture {
  greys: Greys;
  aspect: number;
}

export interface Replies {
  load: LoadedModel;
  read: Answer;
  picture: Picture;
}

export interface Asked {
  number: number;
  request: Request;
}

export type Reply = { number: number; value: Replies[keyof Replies] } | { number: number; error: string };
