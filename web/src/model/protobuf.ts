/** The fields of one protobuf message, as far as this page needs them: those with a length (text, bytes, messages). */

export interface Field {
  number: number;
  /** Where the field's tag begins. */
  start: number;
  bytes: Uint8Array;
}

/** The bytes end within a field. */
export class CutOff extends Error {}

/** The bytes are no protobuf message. */
export class NotProtobuf extends Error {}

/** Yield the fields of a message that have a length, in their order; pass over numbers. */
export function* fieldsWithLength(message: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw new CutOff("it ends within a number");
      // Plain arithmetic: bit operations of JavaScript have 32 bits, and lengths may have more.
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      if (factor > 2 ** 63) throw new NotProtobuf("a number of over 10 bytes");
    }
  };
  while (at < message.length) {
    const start = at;
    const tag = varint();
    const number = Math.floor(tag / 8);
    if (number === 0) throw new NotProtobuf("a field with the number 0");
    switch (tag % 8) {
      case 0:
        varint();
        break;
      case 1:
        at += 8;
        break;
      case 2: {
        const length = varint();
        const end = at + length;
        if (end > message.length) throw new CutOff(`field ${number} is longer than the file`);
        yield { number, start, bytes: message.subarray(at, end) };
        at = end;
        break;
      }
      case 5:
        at += 4;
        break;
      default:
        throw new NotProtobuf(`field ${number} has an unknown type`);
    }
    if (at > message.length) throw new CutOff("it ends within a field");
  }
}
