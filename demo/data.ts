/** The committed input; `data/README.md` describes the files. */

export const DIGIT_WIDTH = 28;
export const DIGIT_PIXELS = DIGIT_WIDTH * DIGIT_WIDTH;

/** Which of them a run reads. */
export type Source = "digits" | "novel";

export interface Digits {
  readonly labels: Uint8Array;
  /** One digit after the other, 784 bytes each. */
  readonly pixels: Uint8Array;
}

export interface Data {
  readonly digits: Digits;
  /** UTF-8. */
  readonly novel: Uint8Array;
}

export async function loadData(): Promise<Data> {
  const [digits, novel] = await Promise.all([
    fetchBytes(new URL("./data/digits.bin", import.meta.url)),
    fetchBytes(new URL("./data/novel.bin", import.meta.url)),
  ]);
  return { digits: readDigits(digits), novel };
}

export function digitPixels(digits: Digits, index: number): Uint8Array {
  return digits.pixels.subarray(index * DIGIT_PIXELS, (index + 1) * DIGIT_PIXELS);
}

async function fetchBytes(url: URL): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The page could not load ${url.pathname}: ${response.status} ${response.statusText}.`);
  return new Uint8Array(await response.arrayBuffer());
}

const HEADER_BYTES = 16;

function readDigits(file: Uint8Array): Digits {
  const header = new DataView(file.buffer, file.byteOffset);
  const count = header.getUint32(8, true);
  const stride = 1 + header.getUint32(12, true);
  if (stride !== 1 + DIGIT_PIXELS || file.length !== HEADER_BYTES + count * stride) {
    throw new Error("data/digits.bin is not the file that this page expects.");
  }
  const labels = new Uint8Array(count);
  const pixels = new Uint8Array(count * DIGIT_PIXELS);
  for (let index = 0; index < count; index++) {
    const start = HEADER_BYTES + index * stride;
    labels[index] = file[start]!;
    pixels.set(file.subarray(start + 1, start + stride), index * DIGIT_PIXELS);
  }
  return { labels, pixels };
}
