/** The table of an image's findings. The button of a finding shows its map. */
import type { Row } from "../csv";
import { decisionOf } from "../readings";
import { breakable, element } from "./dom";
import { joinTabStop, makeTabStop } from "./tabStop";

const HEADS = ["Finding", "Probability", "Logit", "Threshold", "Decision"];

export interface FindingsTable {
  table: HTMLTableElement;
  /** One per row. */
  buttons: HTMLButtonElement[];
}

export function findingsTable(rows: readonly Row[], caption: string, choose: (row: Row) => void): FindingsTable {
  const buttons = rows.map((row) => {
    const button = element("button", { type: "button" }, ...breakable(row.finding));
    button.addEventListener("click", () => choose(row));
    return button;
  });
  const table = element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...HEADS.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows.map((row, position) => lineOf(row, buttons[position]!))),
  );
  makeTabStop(table);
  for (const button of buttons) joinTabStop(table, button);
  return { table, buttons };
}

function lineOf(row: Row, button: HTMLButtonElement): HTMLTableRowElement {
  return element(
    "tr",
    { class: row.present ? "present" : "" },
    element("th", { scope: "row" }, button),
    element("td", {}, row.probability === null ? "not calibrated" : row.probability.toFixed(3)),
    element("td", {}, signed(row.logit)),
    element("td", {}, row.threshold === null ? "–" : signed(row.threshold)),
    element("td", {}, decisionOf(row)),
  );
}

function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}
