/** ONNX Runtime in WebAssembly: a model file in, a network that answers out. */
import * as ort from "onnxruntime-web/wasm";
import loaderUrl from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import binaryUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?gzip";

import { ModelError, reasonOf } from "../errors";
import type { Evidence } from "../evidence";
import { checkImage } from "./checkImage";
import { readMetadata, type Metadata } from "./metadata";
import { checkSeal } from "./seal";

const MOST_THREADS = 4; // more make so small a network no faster

export interface NetworkAnswer {
  logits: Float32Array;
  probabilities: Float32Array;
  evidence: Evidence;
  /** From the training images, in units of the limit: above 1, the image does not look like them. Null: not known. */
  distance: number | null;
}

/** A model that is ready to run: its seal holds, and it gave the known answer. */
export class Network {
  private constructor(
    readonly metadata: Metadata,
    private readonly session: ort.InferenceSession,
  ) {}

  /** Throws a ModelError if the file is no model of this project, is damaged, or if the known answer is missed. */
  static async load(file: Uint8Array<ArrayBuffer>): Promise<{ network: Network; difference: number }> {
    await checkSeal(file);
    const metadata = readMetadata(file);
    const network = new Network(metadata, await sessionOf(file));
    try {
      return { network, difference: await network.checkKnownAnswer() };
    } catch (error) {
      await network.release();
      throw error;
    }
  }

  /** Return the answer for an image of image_size x image_size 8-bit greys. */
  async answer(pixels: Uint8Array): Promise<NetworkAnswer> {
    const size = this.metadata.image_size;
    const input = new ort.Tensor("uint8", pixels, [1, 1, size, size]);
    const found = await this.session.run({ image: input });
    const values = (name: string) => Float32Array.from(found[name]!.data as Float32Array);
    const logits = values("logits");
    const [, , height, width] = found["maps"]!.dims;
    return {
      logits,
      probabilities: found["probabilities"] ? values("probabilities") : new Float32Array(logits.length).fill(NaN),
      evidence: { values: values("maps"), height: height!, width: width! },
      distance: found["distance"] ? values("distance")[0]! : null,
    };
  }

  async release(): Promise<void> {
    await this.session.release();
  }

  private async checkKnownAnswer(): Promise<number> {
    const { image_size: size, known_answer: known } = this.metadata;
    const { logits } = await this.answer(checkImage(size));
    const difference = Math.max(...known.logits.map((wanted, position) => Math.abs(logits[position]! - wanted)));
    if (!(difference <= known.tolerance)) {
      throw new ModelError(
        `The known answer was missed: in this browser the logits of the check image differ by ${difference.toPrecision(2)} ` +
          `(${known.tolerance} is allowed). None of the model's answers can be trusted here. Try another browser.`,
      );
    }
    return difference;
  }
}

export function threads(): number {
  return globalThis.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
}

async function inflated(address: string): Promise<ArrayBuffer> {
  const { ok, body } = await fetch(address);
  if (!ok || !body) throw new ModelError("ONNX Runtime cannot be loaded. Load the page again.");
  return new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function sessionOf(file: Uint8Array): Promise<ort.InferenceSession> {
  // An absolute address: the runtime also uses it in its threads, which have other addresses.
  ort.env.wasm.wasmPaths = { mjs: new URL(loaderUrl, self.location.href).href };
  ort.env.wasm.wasmBinary ??= await inflated(binaryUrl);
  ort.env.wasm.numThreads = threads();
  ort.env.logLevel = "error";
  try {
    return await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new ModelError(`ONNX Runtime cannot load the model (${reasonOf(error).slice(0, 200)}).`);
  }
}
