/** The page's side of the worker that runs the model. */
import type { Asked, Replies, Reply, Request } from "./messages";

interface Waiting {
  resolve: (value: never) => void;
  reject: (error: Error) => void;
}

export class ModelClient {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Waiting>();
  private count = 0;

  constructor() {
    this.worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
      const waiting = this.waiting.get(data.number);
      this.waiting.delete(data.number);
      if ("error" in data) waiting?.reject(new Error(data.error));
      else waiting?.resolve(data.value as never);
    });
    this.worker.addEventListener("error", (event) => {
      const error = new Error(`The model stopped (${event.message || "its worker cannot be loaded"}). Load the page again.`);
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    });
  }

  /** Answer a request; the promise is rejected with the reason in words for the user. */
  ask<Kind extends keyof Replies>(request: Extract<Request, { kind: Kind }>): Promise<Replies[Kind]> {
    const number = this.count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve, reject });
      this.worker.postMessage({ number, request } satisfies Asked);
    });
  }
}
