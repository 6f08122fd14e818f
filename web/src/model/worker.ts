/** The worker that decodes images and runs the model, so that the page stays responsive. One request at a time. */
import { decode } from "../decode/decode";
import { ModelError, reasonOf } from "../errors";
import { resized } from "../resize";
import type { Answer, Asked, LoadedModel, Picture, Replies, Request } from "./messages";
import { Network, threads } from "./runtime";

let network: Network | undefined;
let last: Promise<void> = Promise.resolve();

self.addEventListener("message", ({ data }: MessageEvent<Asked>) => {
  last = last.then(() => reply(data));
});

async function reply({ number, request }: Asked): Promise<void> {
  try {
    self.postMessage({ number, value: await answered(request) });
  } catch (error) {
    self.postMessage({ number, error: reasonOf(error) });
  }
}

function answered(request: Request): Promise<Replies[keyof Replies]> {
  switch (request.kind) {
    case "load":
      return load(request.file);
    case "read":
      return read(request.file);
    case "picture":
      return picture(request.file, request.side);
  }
}

async function load(file: Blob): Promise<LoadedModel> {
  const content = new Uint8Array(await file.arrayBuffer());
  const loaded = await Network.load(content);
  // The earlier model stays if the new one is refused.
  await network?.release();
  network = loaded.network;
  return { metadata: network.metadata, bytes: content.length, threads: threads(), difference: loaded.difference };
}

async function read(file: Blob): Promise<Answer> {
  const { metadata } = loaded();
  const start = performance.now();
  const image = await decode(await bytesOf(file), metadata.intensity);
  const seen = resized(image, metadata.image_size, metadata.keep_aspect);
  const decoded = performance.now();
  const answer = await loaded().answer(seen.pixels);
  return { ...answer, seen, milliseconds: { decode: decoded - start, network: performance.now() - decoded } };
}

async function picture(file: Blob, side: number): Promise<Picture> {
  const { metadata } = loaded();
  const image = await decode(await bytesOf(file), metadata.intensity);
  // Geometry as the network saw it, so that cells of a map lie where they belong.
  return {
    greys: resized(image, Math.min(side, Math.max(image.width, image.height)), metadata.keep_aspect),
    aspect: metadata.keep_aspect ? 1 : image.width / image.height,
  };
}

function loaded(): Network {
  if (!network) throw new ModelError("No model is loaded.");
  return network;
}

async function bytesOf(file: Blob): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Error("the browser cannot read the file (it was moved or changed, or is a folder)");
  }
}
