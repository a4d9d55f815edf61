/** How far one result is from another. */

/** `‖result − reference‖ / ‖reference‖`, summed in float64. */
export function relativeError(result: Float32Array, reference: Float32Array | Float64Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < reference.length; i++) {
    const expected = reference[i]!;
    const apart = result[i]! - expected;
    difference += apart * apart;
    norm += expected * expected;
  }
  return Math.sqrt(difference / norm);
}

export interface Tables {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

export interface Sequence {
  readonly tokens: Uint8Array;
  readonly heads: number;
  readonly headDim: number;
  readonly weights: Float32Array;
}

/**
 * Some rows of the result, straight from the definition in float64, with neither FFT nor library: the check where the library itself
 * runs on the CPU. Equal tokens have equal keys and values, so the sums over j run over the 256 bytes.
 */
export function definitionRows(sequence: Sequence, tables: Tables, rows: readonly number[]): Float64Array {
  const { tokens, heads, headDim, weights } = sequence;
  const length = tokens.length;
  const width = heads * headDim;
  const result = new Float64Array(heads * rows.length * headDim);
  const counts = new Float64Array(256);
  for (const token of tokens) counts[token]!++;
  for (let head = 0; head < heads; head++) {
    rows.forEach((row, index) => {
      const bias = new Float64Array(256);
      const first = head * (2 * length - 1) + length - 1 - row;
      for (let j = 0; j < length; j++) bias[tokens[j]!]! += weights[first + j]!;
      const query = tokens[row]! * width + head * headDim;
      const shares = new Float64Array(256);
      let denominator = 0;
      for (let token = 0; token < 256; token++) {
        let similarity = 0;
        const key = token * width + head * headDim;
        for (let d = 0; d < headDim; d++) similarity += Math.exp(tables.q[query + d]!) * Math.exp(tables.k[key + d]!);
        shares[token] = counts[token]! * similarity;
        denominator += shares[token]!;
      }
      for (let d = 0; d < headDim; d++) {
        let sum = 0;
        for (let token = 0; token < 256; token++) {
          sum += (shares[token]! / denominator + bias[token]!) * tables.v[token * width + head * headDim + d]!;
        }
        result[(head * rows.length + index) * headDim + d] = sum;
      }
    });
  }
  return result;
}

/** The same rows of a full result `[heads, length, headDim]`. */
export function pickRows(full: Float32Array, heads: number, headDim: number, rows: readonly number[]): Float32Array {
  const length = full.length / heads / headDim;
  const result = new Float32Array(heads * rows.length * headDim);
  for (let head = 0; head < heads; head++) {
    rows.forEach((row, index) => {
      const from = (head * length + row) * headDim;
      result.set(full.subarray(from, from + headDim), (head * rows.length + index) * headDim);
    });
  }
  return result;
}

/** `count` rows spread over the sequence, the first and the last among them. */
export function spreadRows(length: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => Math.round((index * (length - 1)) / (count - 1)));
}
