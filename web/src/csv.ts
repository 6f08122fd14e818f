/** The table of all answers, with the first six columns of `cxr-kd predict --csv`. */

export interface Row {
  image: string;
  finding: string;
  logit: number;
  probability: number | null;
  threshold: number | null;
  present: boolean | null;
}

const COLUMNS = ["image", "finding", "logit", "probability", "threshold", "present"] as const;

export function csvOf(rows: Iterable<Row>): string {
  const lines = [COLUMNS.join(",")];
  for (const row of rows) lines.push(COLUMNS.map((column) => cell(row[column])).join(","));
  return `${lines.join("\n")}\n`;
}

function cell(value: string | number | boolean | null): string {
  if (value === null) return "";
  if (typeof value === "boolean") return value ? "True" : "False"; // as Python writes them
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
