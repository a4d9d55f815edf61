/** Writes ONNX models of one node, as the protobuf bytes that a runtime loads. Field numbers are those of onnx.proto. */

type Field = readonly [number, number | string | Uint8Array];

const FLOAT = 1;
const ATTRIBUTE_INT = 2;
const ATTRIBUTE_STRING = 3;

export interface OneNode {
  readonly operator: string;
  /** "" stands for ONNX itself. */
  readonly domain: string;
  readonly version: number;
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** The first is the one to read; operators may insist on having others. */
  readonly outputs: Readonly<Record<string, readonly number[]>>;
  readonly attributes: Readonly<Record<string, number | string>>;
}

export function oneNodeModel(node: OneNode): Uint8Array {
  const attributes = Object.entries(node.attributes).map(([name, value]): Field => {
    const typed: Field[] =
      typeof value === "number"
        ? [
            [3, value],
            [20, ATTRIBUTE_INT],
          ]
        : [
            [4, value],
            [20, ATTRIBUTE_STRING],
          ];
    return [5, message([[1, name], ...typed])];
  });
  const inputs = Object.keys(node.inputs).map((name): Field => [1, name]);
  const outputs = Object.keys(node.outputs).map((name): Field => [2, name]);
  const nodeProto = message([...inputs, ...outputs, [3, "node"], [4, node.operator], ...attributes, [7, node.domain]]);
  const graph = message([
    [1, nodeProto],
    [2, "graph"],
    ...Object.entries(node.inputs).map(([name, shape]): Field => [11, value(name, shape)]),
    ...Object.entries(node.outputs).map(([name, shape]): Field => [12, value(name, shape)]),
  ]);
  const opsets = [...new Map([["", 17] as const, [node.domain, node.version] as const])];
  return message([
    [1, 8], // IR version
    [7, graph],
    ...opsets.map(([domain, version]): Field => [
      8,
      message([
        [1, domain],
        [2, version],
      ]),
    ]),
  ]);
}

function value(name: string, shape: readonly number[]): Uint8Array {
  const dimensions = message(shape.map((size): Field => [1, message([[1, size]])]));
  const tensor = message([
    [1, FLOAT],
    [2, dimensions],
  ]);
  return message([
    [1, name],
    [2, message([[1, tensor]])],
  ]);
}

function message(fields: readonly Field[]): Uint8Array {
  const bytes: number[] = [];
  for (const [number, content] of fields) {
    if (typeof content === "number") {
      bytes.push(...varint(number << 3), ...varint(content));
    } else {
      const payload = typeof content === "string" ? new TextEncoder().encode(content) : content;
      bytes.push(...varint((number << 3) | 2), ...varint(payload.length), ...payload);
    }
  }
  return new Uint8Array(bytes);
}

function varint(value: number): number[] {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}
