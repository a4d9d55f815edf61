/** Interleaved complex numbers to real and imaginary parts, and back: the layout that most peers want. */

export interface Planar {
  readonly real: Float32Array;
  readonly imag: Float32Array;
}

export function split(interleaved: Float32Array): Planar {
  const n = interleaved.length / 2;
  const real = new Float32Array(n);
  const imag = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    real[i] = interleaved[2 * i]!;
    imag[i] = interleaved[2 * i + 1]!;
  }
  return { real, imag };
}

export function interleave({ real, imag }: Planar): Float32Array {
  const result = new Float32Array(2 * real.length);
  for (let i = 0; i < real.length; i++) {
    result[2 * i] = real[i]!;
    result[2 * i + 1] = imag[i]!;
  }
  return result;
}
