/** Image codecs in WebAssembly. Each is loaded when the first file needs it. */
import { ImageError } from "../errors";
import type { StoredValues } from "./tags";

interface CodecDecoder {
  getEncodedBuffer(length: number): Uint8Array;
  decode(): void;
  getFrameInfo(): { width: number; height: number; bitsPerSample: number };
  getDecodedBuffer(): Uint8Array;
  delete(): void;
}

type CodecModule = Record<string, new () => CodecDecoder>;

/** The module of a codec's package. */
export interface CodecPackage {
  default: (options: { wasmBinary: ArrayBuffer; print: () => void; printErr: () => void }) => Promise<CodecModule>;
}

/** Codecs write remarks on damaged files to the console; the page says it in its own words. */
const QUIET = { print: () => undefined, printErr: () => undefined };

export class WasmCodec {
  private module: Promise<CodecModule> | undefined;

  /** `address`: of the WebAssembly file. `decoder`: the class in the package that decodes. */
  constructor(
    private readonly imported: () => Promise<CodecPackage>,
    private readonly address: string,
    private readonly decoder: string,
  ) {}

  /** Return the `count` values of an image with one value per pixel. */
  async decode(stream: Uint8Array, count: number): Promise<StoredValues> {
    const module = await (this.module ??= this.load());
    let values: StoredValues;
    try {
      values = decoded(new module[this.decoder]!(), stream);
    } catch {
      // The codecs throw numbers, and their memory cannot be trusted after that.
      this.module = undefined;
      throw damaged();
    }
    if (values.length !== count) throw damaged();
    return values;
  }

  private async load(): Promise<CodecModule> {
    const { default: make } = await this.imported();
    return make({ wasmBinary: await (await fetch(this.address)).arrayBuffer(), ...QUIET });
  }
}

function damaged(): ImageError {
  return new ImageError("not a complete DICOM file (its compressed pixels cannot be decoded)");
}

function decoded(decoder: CodecDecoder, stream: Uint8Array): StoredValues {
  decoder.getEncodedBuffer(stream.length).set(stream);
  decoder.decode();
  const bytes = Uint8Array.from(decoder.getDecodedBuffer()); // a copy: the codec's memory is used again
  const { bitsPerSample } = decoder.getFrameInfo();
  decoder.delete();
  return bitsPerSample > 8 ? new Uint16Array(bytes.buffer) : bytes;
}
