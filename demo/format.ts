/** Numbers as people read them. The spaces inside are no-break spaces. */

const counts = new Intl.NumberFormat("en");

export function count(value: number): string {
  return counts.format(value);
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value: number): string {
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${significant(value)}\u00a0${UNITS[unit]!}`;
}

export function duration(milliseconds: number): string {
  return milliseconds < 1000 ? `${significant(milliseconds)}\u00a0ms` : `${significant(milliseconds / 1000)}\u00a0s`;
}

/** Three significant digits, but never fewer than the whole number has. */
export function significant(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100) return count(Math.round(value));
  return value
    .toPrecision(size < 0.001 ? 2 : 3)
    .replace(/(\.\d*?)0+$/, "$1")
    .replace(/\.$/, "");
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** `1.9 × 10⁻⁷` */
export function scientific(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const [mantissa, exponent] = value.toExponential(1).replace(".0", "").split("e") as [string, string];
  if (Math.abs(Number(exponent)) < 3) return significant(value);
  const raised = [...String(Math.abs(Number(exponent)))].map((digit) => SUPERSCRIPTS[Number(digit)]).join("");
  return `${mantissa.replace("-", "−")}\u00a0×\u00a010${Number(exponent) < 0 ? "⁻" : ""}${raised}`;
}
