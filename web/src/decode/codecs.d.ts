/** Types of codecs that come without: of Cornerstone (CharLS and OpenJPEG in WebAssembly), and of lossless JPEG. */
declare module "@cornerstonejs/*wasmjs" {
  const make: import("./wasmCodec").CodecPackage["default"];
  export default make;
}

/** Its package names a file of types that it does not have. */
declare module "jpeg-lossless-decoder-js" {
  export class Decoder {
    /** Where the next pixel goes. */
    xLoc: number;
    yLoc: number;
    scan: { al: number };
    /** Predicts the next pixel; null before the first is decoded. */
    selector: (() => number) | null;
    decode(buffer: ArrayBuffer, offset: number, length: number, bytesPerValue: number): Uint8Array | Uint16Array;
  }
}
