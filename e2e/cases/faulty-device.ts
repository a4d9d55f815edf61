/** A device, or what opens one, that fails where a test wants it to. */

/** `GPUBufferUsage.MAP_WRITE` */
const MAP_WRITE = 2;

/** What may happen where somebody waits for a device. */
export type Fault = "destroy" | "out of memory" | "reject" | "never";

type Method = (...args: unknown[]) => unknown;

/** Replaces a method of an object; `original` is bound to it. */
function patch(owner: object, name: string, replacement: (original: Method) => Method): void {
  const target = owner as Record<string, Method>;
  target[name] = replacement(target[name]!.bind(owner));
}

/** Counts what is waited for on a device, and makes one of these waits fail. */
export class FaultyDevice {
  readonly device: GPUDevice;
  /** Each wait so far, by the method that was called. */
  readonly waits: string[] = [];
  readonly #scopes: string[] = [];
  #fault: { readonly at: number; readonly kind: Fault } | undefined;

  constructor(device: GPUDevice) {
    this.device = device;
    for (const name of ["createComputePipelineAsync", "popErrorScope"]) patch(device, name, (original) => this.#waited(name, original));
    patch(device, "pushErrorScope", (push) => (filter) => {
      this.#scopes.push(filter as string);
      return push(filter);
    });
    patch(device.queue, "onSubmittedWorkDone", (original) => this.#waited("onSubmittedWorkDone", original));
    patch(device, "createBuffer", (create) => (descriptor) => {
      const buffer = create(descriptor) as GPUBuffer;
      patch(buffer, "mapAsync", (original) => this.#waited("mapAsync", original));
      return buffer;
    });
  }

  /** From now on, wait number `at` fails; `undefined` for none. */
  inject(fault: { readonly at: number; readonly kind: Fault } | undefined): void {
    this.#fault = fault;
    this.waits.length = 0;
  }

  #waited(name: string, original: Method): Method {
    return (...args) => {
      this.waits.push(name);
      const scope = name === "popErrorScope" ? this.#scopes.pop() : undefined;
      const fault = this.#fault;
      if (fault?.at !== this.waits.length - 1) return original(...args);
      if (fault.kind === "destroy") this.device.destroy();
      const answer = original(...args) as Promise<unknown>;
      if (fault.kind === "destroy") return answer;
      answer.catch(() => {});
      if (fault.kind === "never") return new Promise(() => {});
      // A scope tells of a lack of memory; other waits fail.
      if (fault.kind === "out of memory" && scope)
        return scope === "validation" ? answer : Promise.resolve({ message: "out of memory, by the test" });
      return Promise.reject(new DOMException(`${fault.kind}, by the test`, "OperationError"));
    };
  }
}

/** A device whose buffers of more than `most()` bytes do not exist, as where memory is short. */
export function withLittleMemory(device: GPUDevice, most: () => number): void {
  const scopes: { readonly filter: string; failed: boolean }[] = [];
  patch(device, "pushErrorScope", (push) => (filter) => {
    scopes.push({ filter: filter as string, failed: false });
    return push(filter);
  });
  patch(device, "popErrorScope", (pop) => async () => {
    const { failed } = scopes.pop()!;
    const error = await (pop() as Promise<GPUError | null>);
    return failed ? { message: "out of memory, by the test" } : error;
  });
  patch(device, "createBuffer", (create) => (descriptor) => {
    if ((descriptor as GPUBufferDescriptor).size <= most()) return create(descriptor);
    const scope = scopes.findLast(({ filter }) => filter === "out-of-memory");
    if (scope) scope.failed = true;
    // A buffer that is none: one of its usages forbids the others.
    device.pushErrorScope("validation");
    const { usage, ...rest } = descriptor as GPUBufferDescriptor;
    const buffer = create({ ...rest, usage: usage | MAP_WRITE });
    void device.popErrorScope();
    // What is done with it is refused, as it would be with one that memory was too short for.
    return buffer;
  });
}
