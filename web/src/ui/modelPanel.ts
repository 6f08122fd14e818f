/** The part of the page about the model: its state, what it learned from, and what its file says. */
import type { LoadedModel } from "../model/messages";
import { isCalibrated, type Metadata } from "../model/metadata";
import { byId, element } from "./dom";

export class ModelPanel {
  private readonly status = byId("model-status", HTMLElement);
  private readonly error = byId("model-error", HTMLElement);
  private readonly details = byId("model-details", HTMLDetailsElement);
  private readonly facts = byId("model-facts", HTMLElement);
  private readonly learnedFrom = byId("learned-from", HTMLElement);

  /** `open` is called with a file that the user chose. */
  constructor(open: (file: File) => void) {
    const input = byId("model-file", HTMLInputElement);
    input.addEventListener("change", () => {
      const [file] = input.files ?? [];
      input.value = ""; // the same file can be chosen again
      if (file) open(file);
    });
  }

  showLoading(name: string): void {
    this.status.textContent = `${name} is being loaded and checked …`;
    this.error.textContent = "";
  }

  showMissing(): void {
    this.status.textContent = "No model is loaded. Open a model file first.";
  }

  /** `kept`: the model that is still loaded. */
  showError(name: string, reason: string, kept: LoadedModel | undefined): void {
    this.error.textContent = `${name}: ${reason}`;
    this.status.textContent = kept
      ? `The earlier model, ${kept.metadata.run}, stays loaded.`
      : "No model is loaded. Open a model file.";
  }

  showLoaded(name: string, model: LoadedModel): void {
    const told = model.metadata;
    this.error.textContent = "";
    this.status.textContent =
      `${name} is loaded: ${told.network}, ${told.image_size} px. Its seal holds, and the known answer came out ` +
      `(largest difference ${model.difference.toExponential(0)} logits; ${told.known_answer.tolerance} is allowed).`;
    this.learnedFrom.textContent = originOf(told);
    this.facts.replaceChildren(...factsOf(model).flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]));
    this.details.hidden = false;
  }
}

function originOf(told: Metadata): string {
  return told.dataset === "phantom"
    ? "This model learned from synthetic radiographs. It knows nothing about patients."
    : `This model learned from the data set ${told.dataset}.`;
}

function factsOf({ metadata: told, bytes, threads }: LoadedModel): [string, string][] {
  return [
    ["Network", told.network],
    ["Run", `${told.run} of the study ${told.study}`],
    ["Learned from", told.dataset],
    ["Findings", told.findings.map((finding) => finding.name).join(", ")],
    ["Image size", `${told.image_size} × ${told.image_size} px${told.keep_aspect ? ", centred on black" : ", both sides fitted"}`],
    ["Maps", `${told.cells[0]} × ${told.cells[1]} cells`],
    [
      "Probabilities",
      isCalibrated(told)
        ? "Platt scaling, fitted on the validation side of the run. They hold for its prevalence."
        : "none: the model was exported without calibration",
    ],
    ["Decisions", "A finding is called present from the logit on that the rule youden chose on validation."],
    ["File", `${(bytes / 1e6).toFixed(1)} MB, made with ${Object.entries(told.versions ?? {}).map((pair) => pair.join(" ")).join(", ")}`],
    ["Runs on", `WebAssembly, ${threads === 1 ? "1 thread" : `${threads} threads`}`],
    ["Use", told.use],
    ["Licence", told.licence],
  ];
}
