/** The little that is used of the peers, declared here so that the types check without them installed. */

declare module "@jax-js/jax" {
  /** Every operation takes over its arguments; `ref` keeps one for another use. */
  export interface JaxArray {
    readonly ref: JaxArray;
    add(other: JaxArray | number): JaxArray;
    sub(other: JaxArray): JaxArray;
    mul(other: JaxArray | number): JaxArray;
    div(other: JaxArray): JaxArray;
    reshape(shape: readonly number[]): JaxArray;
    slice(...index: ([] | [number, number] | number)[]): JaxArray;
    data(): Promise<Float32Array>;
    gpuBufferSync(): GPUBuffer;
    dispose(): void;
  }
  export interface ComplexPair {
    real: JaxArray;
    imag: JaxArray;
  }
  export function init(...devices: "webgpu"[]): Promise<string[]>;
  export function defaultDevice(device: "webgpu"): string;
  export function getWebGPUDevice(): GPUDevice;
  export function blockUntilReady<T>(arrays: T): Promise<T>;
  export function jit<F>(f: F): F;
  /** With respect to the first argument. */
  export function valueAndGrad<First, Rest extends unknown[]>(
    f: (first: First, ...rest: Rest) => JaxArray,
  ): (first: First, ...rest: Rest) => [JaxArray, First];
  export const tree: {
    ref<T>(arrays: T): T;
    dispose(arrays: unknown): void;
  };
  export const nn: {
    gelu(x: JaxArray, options: { approximate: boolean }): JaxArray;
    logSoftmax(x: JaxArray, axis: number): JaxArray;
    logsumexp(x: JaxArray, axis: number, options: { keepdims: boolean }): JaxArray;
    oneHot(x: JaxArray, classes: number): JaxArray;
    softmax(x: JaxArray, axis: number): JaxArray;
    standardize(x: JaxArray, axis: number, options: { epsilon: number }): JaxArray;
  };
  export const numpy: {
    readonly int32: unknown;
    array(data: Float32Array, options: { shape: readonly number[] }): JaxArray;
    array(data: Int32Array, options: { shape: readonly number[]; dtype: unknown }): JaxArray;
    pad(array: JaxArray, widths: readonly (readonly [number, number])[]): JaxArray;
    exp(array: JaxArray): JaxArray;
    max(array: JaxArray, axis: number, options: { keepdims: boolean }): JaxArray;
    sum(array: JaxArray, axis?: number, options?: { keepdims: boolean }): JaxArray;
    mean(array: JaxArray, axis: number): JaxArray;
    sqrt(array: JaxArray): JaxArray;
    expm1(array: JaxArray): JaxArray;
    transpose(array: JaxArray, order?: readonly number[]): JaxArray;
    matmul(a: JaxArray, b: JaxArray): JaxArray;
    matrixTranspose(a: JaxArray): JaxArray;
    fft: { fft(x: ComplexPair): ComplexPair; ifft(x: ComplexPair): ComplexPair };
  };
}

declare module "@tensorflow/tfjs-core" {
  export interface TfTensor {
    data(): Promise<Float32Array>;
    dispose(): void;
  }
  export interface TfVariable extends TfTensor {
    assign(value: TfTensor): void;
  }
  export interface TfOptimizer {
    applyGradients(gradients: Readonly<Record<string, TfTensor>>): void;
    dispose(): void;
  }
  export function tensor(data: Float32Array | Int32Array, shape: readonly number[], dtype?: "float32" | "int32"): TfTensor;
  export function variable(initial: TfTensor): TfVariable;
  export function tidy<T>(f: () => T): T;
  export function variableGrads(
    f: () => TfTensor,
    variables: readonly TfVariable[],
  ): { readonly value: TfTensor; readonly grads: Readonly<Record<string, TfTensor>> };
  export function add(a: TfTensor, b: TfTensor | number): TfTensor;
  export function sub(a: TfTensor, b: TfTensor): TfTensor;
  export function mul(a: TfTensor, b: TfTensor | number): TfTensor;
  export function matMul(a: TfTensor, b: TfTensor, transposeA?: boolean, transposeB?: boolean): TfTensor;
  export function erf(x: TfTensor): TfTensor;
  export function logSumExp(x: TfTensor, axis: number): TfTensor;
  export function mean(x: TfTensor, axis: number): TfTensor;
  export function moments(x: TfTensor, axis: number, keepDims: boolean): { readonly mean: TfTensor; readonly variance: TfTensor };
  export function oneHot(indices: TfTensor, depth: number, on?: number, off?: number, dtype?: "float32"): TfTensor;
  export function reshape(x: TfTensor, shape: readonly number[]): TfTensor;
  export function rsqrt(x: TfTensor): TfTensor;
  export function softmax(x: TfTensor): TfTensor;
  export function transpose(x: TfTensor, order: readonly number[]): TfTensor;
  export const losses: { softmaxCrossEntropy(labels: TfTensor, logits: TfTensor): TfTensor };
  export const train: { adam(rate: number, beta1: number, beta2: number, epsilon: number): TfOptimizer };
  export function complex(real: TfTensor, imag: TfTensor): TfTensor;
  export function real(x: TfTensor): TfTensor;
  export function imag(x: TfTensor): TfTensor;
  export function fft(x: TfTensor): TfTensor;
  export function setBackend(name: string): Promise<boolean>;
  export function ready(): Promise<void>;
  export function backend(): unknown;
}

declare module "@tensorflow/tfjs-core/dist/register_all_gradients" {}

declare module "@tensorflow/tfjs-backend-webgpu" {}

declare module "onnxruntime-web/webgpu" {
  export interface OrtTensor {
    getData(): Promise<Float32Array>;
    dispose(): void;
  }
  export const Tensor: {
    fromGpuBuffer(buffer: GPUBuffer, options: { dataType: "float32"; dims: readonly number[] }): OrtTensor;
  };
  export interface InferenceSession {
    run(feeds: Readonly<Record<string, OrtTensor>>): Promise<Readonly<Record<string, OrtTensor>>>;
    release(): Promise<void>;
  }
  export const InferenceSession: {
    create(model: Uint8Array, options: { executionProviders: string[]; preferredOutputLocation: "gpu-buffer" }): Promise<InferenceSession>;
  };
  export const env: { wasm: { wasmPaths?: string; numThreads?: number }; webgpu: { device: Promise<GPUDevice> | GPUDevice }; logLevel?: string };
}

declare module "fft.js" {
  export default class FFT {
    constructor(size: number);
    createComplexArray(): number[];
    transform(out: Float64Array | number[], data: Float64Array | number[]): void;
  }
}

declare module "@echogarden/pffft-wasm/simd" {
  interface Pffft {
    readonly HEAPF32: Float32Array;
    _pffft_new_setup(length: number, kind: number): number;
    _pffft_destroy_setup(setup: number): void;
    _pffft_aligned_malloc(bytes: number): number;
    _pffft_aligned_free(pointer: number): void;
    _pffft_transform_ordered(setup: number, input: number, output: number, work: number, direction: number): void;
  }
  export default function load(): Promise<Pffft>;
}
