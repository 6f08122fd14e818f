/** A model file that cannot be used, with the reason in words for the user. */
export class ModelError extends Error {
  override name = "ModelError";
}

/** An image file that cannot be read, with the reason in words for the user. */
export class ImageError extends Error {
  override name = "ImageError";
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
