/** One radiograph with its map, the colour scale and the table of its findings. */
import type { Row } from "../csv";
import { mapOf, scaleTop, strongest } from "../evidence";
import type { Answer, Picture } from "../model/messages";
import { isUnfamiliar } from "../readings";
import { byId, element } from "./dom";
import { findingsTable } from "./findingsTable";
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
  /** Unfamiliar images whose findings the user wants to see. */
  private readonly insisted = new WeakSet<Answer>();

  /** Show an image as the network saw it; `sharpen` replaces it by a larger picture of the same image. */
  show(shown: Shown): void {
    this.shown = shown;
    this.picture = undefined;
    this.build();
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

  private build(): void {
    const { name, answer } = this.shown!;
    const hidden = this.hidesFindings();
    this.buttons = [];
    this.place.replaceChildren(
      element("h3", {}, name),
      element("figure", {}, this.canvas, ...(hidden ? [] : colourScale(scaleTop(answer.evidence))), this.note),
      element("div", {}, ...(isUnfamiliar(answer) ? [this.warning()] : []), ...(hidden ? [] : [this.findings()])),
    );
    this.draw();
  }

  private hidesFindings(): boolean {
    const { answer } = this.shown!;
    return isUnfamiliar(answer) && !this.insisted.has(answer);
  }

  private warning(): HTMLElement {
    const { answer } = this.shown!;
    const sentence =
      `This does not look like the radiographs that the model learned from (${answer.distance!.toFixed(2)} times the ` +
      "limit): a lateral view, an inverted image, a collage, or no radiograph? Its findings would mean nothing.";
    const button = element("button", { type: "button" }, "Show them all the same");
    button.addEventListener("click", () => {
      this.insisted.add(answer);
      this.build();
      this.buttons[0]?.focus(); // the button that had the focus is gone
    });
    return element("div", { class: "banner", role: "note" }, element("p", {}, sentence), ...(this.hidesFindings() ? [button] : []));
  }

  private findings(): HTMLElement {
    const { rows, answer } = this.shown!;
    const { decode, network } = answer.milliseconds;
    const caption =
      `${(decode + network).toFixed(0)} ms: ${decode.toFixed(0)} to decode, ${network.toFixed(0)} for the network. ` +
      "Choose a finding to see its map.";
    const { table, buttons } = findingsTable(rows, caption, (row) => {
      this.chosen = this.current() === row.finding ? null : row.finding;
      this.draw();
    });
    this.buttons = buttons;
    return element("div", { class: "findings", tabindex: "0", role: "region", "aria-label": "Findings" }, table);
  }

  /** The finding whose map is shown: the user's choice, else of those called present the one with the most evidence. */
  private current(): string | null {
    const { answer, rows } = this.shown!;
    if (this.hidesFindings()) return null;
    if (this.chosen === null || rows.some((row) => row.finding === this.chosen)) return this.chosen ?? null;
    const called = rows.some((row) => row.present);
    const tops = rows.map((row, at) => (called && !row.present ? 0 : (strongest(answer.evidence, at)?.value ?? 0)));
    const top = Math.max(...tops);
    return top > 0 ? rows[tops.indexOf(top)]!.finding : null;
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
    const told = this.describe(current, position);
    this.note.textContent = told;
    this.canvas.setAttribute("aria-label", `Radiograph ${name}. ${told}`);
  }

  private describe(finding: string | null, position: number): string {
    const { evidence } = this.shown!.answer;
    if (finding === null) return "The radiograph without a map.";
    const peak = strongest(evidence, position);
    if (peak === null) return `Map of ${finding}: no evidence for it.`;
    return (
      `Map of ${finding}: up to ${peak.value.toFixed(2)} logits, in row ${peak.row + 1} of ${evidence.height}, ` +
      `column ${peak.column + 1} of ${evidence.width}.`
    );
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
