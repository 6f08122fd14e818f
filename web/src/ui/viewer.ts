/** One radiograph with its map, the colour scale and the table of its findings. */
import type { Row } from "../csv";
import { mapOf, scaleTop, strongest } from "../evidence";
import type { Answer, Picture } from "../model/messages";
import { decisionOf } from "../readings";
import { breakable, byId, element } from "./dom";
import { drawColourBar, drawRadiograph } from "./radiograph";

export interface Shown {
  name: string;
  rows: Row[];
  answer: Answer;
}

export class Viewer {
  private readonly place = byId("viewer", HTMLElement);
  private shown: Shown | undefined;
  private picture: Picture | undefined;
  /** The finding whose map is shown; null: the radiograph alone; undefined: the user has not chosen yet. */
  private chosen: string | null | undefined;
  private canvas = element("canvas", { class: "radiograph", role: "img" });
  private note = element("p", { class: "muted", "aria-live": "polite" });
  private buttons: HTMLButtonElement[] = [];

  /** Show an image as the network saw it; `sharpen` replaces it by a larger picture of the same image. */
  show(shown: Shown): void {
    this.shown = shown;
    this.picture = undefined;
    const { decode, network } = shown.answer.milliseconds;
    this.place.replaceChildren(
      element("h3", {}, shown.name),
      element("figure", {}, this.canvas, ...colourScale(scaleTop(shown.answer.evidence)), this.note),
      element(
        "div",
        { class: "findings", tabindex: "0", role: "region", "aria-label": "Findings" },
        this.table(shown, `${(decode + network).toFixed(0)} ms: ${decode.toFixed(0)} to decode, ${network.toFixed(0)} for the network. Choose a finding to see its map.`),
      ),
    );
    this.draw();
  }

  sharpen(name: string, picture: Picture): void {
    if (this.shown?.name !== name) return;
    this.picture = picture;
    this.draw();
  }

  clear(): void {
    this.shown = undefined;
    this.place.replaceChildren();
  }

  private table(shown: Shown, caption: string): HTMLTableElement {
    this.buttons = shown.rows.map((row) => {
      const button = element("button", { type: "button" }, ...breakable(row.finding));
      button.addEventListener("click", () => {
        this.chosen = this.current() === row.finding ? null : row.finding;
        this.draw();
      });
      return button;
    });
    const heads = ["Finding", "Probability", "Logit", "Threshold", "Decision"].map((text) => element("th", { scope: "col" }, text));
    const rows = shown.rows.map((row, position) =>
      element(
        "tr",
        { class: row.present ? "present" : "" },
        element("th", { scope: "row" }, this.buttons[position]!),
        element("td", {}, row.probability === null ? "not calibrated" : row.probability.toFixed(3)),
        element("td", {}, signed(row.logit)),
        element("td", {}, row.threshold === null ? "–" : signed(row.threshold)),
        element("td", {}, decisionOf(row)),
      ),
    );
    return element("table", {}, element("caption", {}, caption), element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  }

  /** The finding whose map is shown: the user's choice, else the one with the strongest evidence. */
  private current(): string | null {
    const { answer, rows } = this.shown!;
    if (this.chosen === null || rows.some((row) => row.finding === this.chosen)) return this.chosen ?? null;
    const top = scaleTop(answer.evidence);
    const cells = answer.evidence.height * answer.evidence.width;
    return top > 0 ? (rows[Math.floor(answer.evidence.values.indexOf(top) / cells)]?.finding ?? null) : null;
  }

  private draw(): void {
    const { name, rows, answer } = this.shown!;
    const { evidence } = answer;
    const current = this.current();
    const position = rows.findIndex((row) => row.finding === current);
    const top = scaleTop(evidence);
    this.buttons.forEach((button, each) => button.setAttribute("aria-pressed", String(each === position)));
    const overlay = position < 0 ? null : { map: mapOf(evidence, position), height: evidence.height, width: evidence.width, top };
    drawRadiograph(this.canvas, this.picture?.greys ?? answer.seen, overlay);
    this.canvas.style.aspectRatio = String(this.picture?.aspect ?? 1);
    this.canvas.style.objectFit = "fill";
    const peak = position < 0 ? null : strongest(evidence, position);
    const told =
      current === null
        ? "The radiograph without a map."
        : peak === null
          ? `Map of ${current}: no evidence for it.`
          : `Map of ${current}: up to ${peak.value.toFixed(2)} logits, in row ${peak.row + 1} of ${evidence.height}, ` +
            `column ${peak.column + 1} of ${evidence.width}.`;
    this.note.textContent = told;
    this.canvas.setAttribute("aria-label", `Radiograph ${name}. ${told}`);
  }
}

/** One scale for all maps of an image, so that their colours can be compared. */
function colourScale(top: number): HTMLElement[] {
  if (!(top > 0)) return [element("p", { class: "muted" }, "No finding has evidence for it in this image.")];
  const bar = element("canvas", { class: "colour-bar", "aria-hidden": "true" });
  drawColourBar(bar);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => element("span", {}, (share * top).toFixed(2)));
  return [
    bar,
    element("div", { class: "ticks", role: "group", "aria-label": "Colour scale in logits" }, ...ticks),
    element("p", { class: "muted" }, "Evidence for the finding, in logits. All maps of this image have this one scale. No evidence has no colour."),
  ];
}

function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}
