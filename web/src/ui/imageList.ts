/** The list of answered radiographs, and the list of files that could not be read. */
import { resized, type Greys } from "../resize";
import { byId, element } from "./dom";
import { drawRadiograph } from "./radiograph";
import { joinTabStop, makeTabStop } from "./tabStop";

const THUMBNAIL = 48; // px

export class ImageList {
  private readonly list = byId("image-list", HTMLElement);
  private readonly section = byId("answers", HTMLElement);
  private readonly unreadable = byId("unreadable", HTMLElement);
  private readonly reasons = byId("unreadable-list", HTMLElement);

  constructor() {
    makeTabStop(this.list);
  }

  add(name: string, seen: Greys, summary: string, select: () => void): HTMLButtonElement {
    const thumbnail = element("canvas", { "aria-hidden": "true" });
    drawRadiograph(thumbnail, resized(seen, THUMBNAIL, false), null);
    const button = element("button", { type: "button" }, thumbnail, element("span", {}, name, element("small", {}, summary)));
    button.addEventListener("click", select);
    this.list.append(element("li", {}, button));
    joinTabStop(this.list, button);
    this.section.hidden = false;
    return button;
  }

  addUnreadable(name: string, reason: string): void {
    this.reasons.append(element("li", {}, element("strong", {}, name), `: ${reason}`));
    this.unreadable.hidden = false;
  }

  mark(selected: HTMLButtonElement): void {
    for (const button of this.list.querySelectorAll("[aria-current]")) button.removeAttribute("aria-current");
    selected.setAttribute("aria-current", "true");
  }

  clear(): void {
    this.list.replaceChildren();
    this.reasons.replaceChildren();
    this.section.hidden = true;
    this.unreadable.hidden = true;
  }
}
