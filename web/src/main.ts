/** The page: the model, the files, the answers. */
import { csvOf } from "./csv";
import { reasonOf } from "./errors";
import { ModelClient } from "./model/client";
import type { LoadedModel } from "./model/messages";
import { Reader, type Progress, type Reading } from "./reader";
import { summaryOf } from "./readings";
import { byId, element } from "./ui/dom";
import { takeFiles } from "./ui/fileDrop";
import { ImageList } from "./ui/imageList";
import { ModelPanel } from "./ui/modelPanel";
import { Viewer } from "./ui/viewer";

const PICTURE_SIDE = 768; // px of the picture of a selected image
const MODEL_BESIDE = "model.onnx"; // the model that is loaded if it lies beside the page

const model = new ModelClient();
const images = new ImageList();
const viewer = new Viewer();
const panel = new ModelPanel((file) => void open(file.name, file));
const reader = new Reader(model, { answered, unreadable: (file, reason) => images.addUnreadable(file.name, reason), progress });
let loaded: LoadedModel | undefined;
let selected: Reading | undefined;

async function open(name: string, file: Blob): Promise<void> {
  panel.showLoading(name);
  try {
    loaded = await model.ask<"load">({ kind: "load", file });
  } catch (error) {
    panel.showError(name, reasonOf(error), loaded);
    return;
  }
  panel.showLoaded(name, loaded);
  clearAnswers();
  reader.useModel(loaded.metadata);
}

async function openModelBeside(): Promise<void> {
  try {
    const response = await fetch(MODEL_BESIDE);
    if (response.ok) return await open(MODEL_BESIDE, await response.blob());
  } catch {
    // There is no server (any more), so there is no model beside the page either.
  }
  if (!loaded) panel.showMissing();
}

function answered(reading: Reading): void {
  const button = images.add(reading.file.name, reading.answer.seen, summaryOf(reading.rows, reading.answer), () => select(reading, button));
  if (!selected) select(reading, button);
}

function select(reading: Reading, button: HTMLButtonElement): void {
  selected = reading;
  images.mark(button);
  viewer.show({ name: reading.file.name, rows: reading.rows, answer: reading.answer });
  model.ask<"picture">({ kind: "picture", file: reading.file, side: PICTURE_SIDE }).then(
    (picture) => {
      if (selected === reading) viewer.sharpen(reading.file.name, picture);
    },
    () => undefined, // the file is gone: the image stays as the network saw it
  );
}

function progress({ done, total, unreadable }: Progress): void {
  const bar = byId("progress", HTMLProgressElement);
  byId("progress-line", HTMLElement).hidden = false;
  bar.max = total;
  bar.value = done;
  const failed = unreadable ? `; ${unreadable} could not be read` : "";
  byId("progress-text", HTMLElement).textContent = loaded
    ? `${done} of ${total} done${failed}`
    : `${total} ${total === 1 ? "file waits" : "files wait"} for a model`;
  byId("actions", HTMLElement).hidden = total === 0;
}

function clearAnswers(): void {
  selected = undefined;
  images.clear();
  viewer.clear();
}

function download(): void {
  const address = URL.createObjectURL(new Blob([csvOf(reader.readings.flatMap(({ rows }) => rows))], { type: "text/csv" }));
  element("a", { href: address, download: "answers.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

takeFiles((files) => reader.add(files));
byId("download", HTMLButtonElement).addEventListener("click", download);
byId("remove", HTMLButtonElement).addEventListener("click", () => {
  reader.clear();
  clearAnswers();
  byId("progress-line", HTMLElement).hidden = true;
  byId("actions", HTMLElement).hidden = true;
  byId("image-files", HTMLInputElement).focus();
});
void openModelBeside();
// Browsers have service workers only on pages of localhost and https.
if (import.meta.env.PROD) navigator.serviceWorker?.register("sw.js").catch(() => undefined);
