/** Points as a table for other programs: one line per point, every digit. */
import type { Line } from "./lines";

const FIXED = ["step", "tokens", "time"];

/** CSV with the columns run, step, tokens, time and one for each metric of these lines. */
export function linesCsv(lines: Line[], nameOf: (line: Line) => string): string {
  const columns = [...new Set(lines.map((line) => line.column))];
  const rows = [["run", ...FIXED, ...columns].join(",")];
  const runs = new Map(lines.map((line) => [line.points, line]));
  for (const [points, line] of runs) {
    const shown = columns.filter((column) =>
      lines.some((one) => one.points === points && one.column === column),
    );
    for (let index = 0; index < points.length; index++) {
      const values = columns.map((column) =>
        shown.includes(column) ? numberText(points.column(column)?.[index]) : "",
      );
      if (values.every((value) => value === "")) continue;
      rows.push(
        [
          quoted(nameOf(line)),
          ...FIXED.map((name) => numberText(points.column(name)?.[index])),
          ...values,
        ].join(","),
      );
    }
  }
  return `${rows.join("\r\n")}\r\n`;
}

const numberText = (value: number | undefined) =>
  value === undefined || Number.isNaN(value) ? "" : String(value);

const quoted = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
