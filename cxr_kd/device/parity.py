"""Does the exported file decide as the network does? Both on the whole test side, and the time that each takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.device.export import export
from cxr_kd.device.exported import AT_ONCE, ExportedModel
from cxr_kd.device.latency import calls_in_turn_ms, cpu_name, latency_ratio
from cxr_kd.device.model_card import write_model_card
from cxr_kd.evaluation.metrics import auroc
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.explanation.methods.cam import one_pass
from cxr_kd.explanation.similarity import rank_correlation
from cxr_kd.files import write_csv
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study import Study
from cxr_kd.study.runs import Run

FILE, TABLE = "model.onnx", "exported.csv"  # in the run's folder; in the study's
THREADS = 1


def write_exports(
    study: Study, runs: Sequence[Run], networks: Mapping[str, CxrClassifier], data: Prepared
) -> pd.DataFrame:
    """Export the network of each run to FILE in its folder, write the table of `compared` as TABLE, and return it.

    A model card (`model_card`) is written beside each file.

    `networks`: name of a run -> its network.
    """
    rows = []
    for run in runs:
        folder = study.run_folder(run)
        exported = export(folder, folder / FILE, overwrite=True)
        # The runtime's own threads would otherwise wait for work while another network is timed.
        exported = ExportedModel.load(exported.path, threads=THREADS)
        test = Predictions.read(folder / "predictions-test.parquet")
        rows.append(
            {"run": run.name, **compared(exported, networks[run.name], test, data, study.device.latency_repeats)}
        )
    table = pd.DataFrame(rows)
    write_csv(study.runs_folder / TABLE, table)
    for run in runs:
        folder = study.run_folder(run)
        write_model_card(ExportedModel.load(folder / FILE, threads=THREADS), folder)
    return table


def compared(
    exported: ExportedModel, model: CxrClassifier, test: Predictions, data: Prepared, repeats: int
) -> dict[str, object]:
    """Return how an exported model differs from its network on the test side, and the time of one image.

    `test`: the network's own predictions. Keys of the row:
        network, precision, runtime, file_mb (2**20 bytes), images, findings.
        logit_difference, map_difference: largest absolute difference in logits, over all images, findings (and cells).
        map_correlation: lowest rank correlation of two maps of one image and finding; NaN if all maps are constant.
        auroc, auroc_exported: mean over the findings that have one.
        auroc_difference: largest absolute difference of a finding's AUROC.
        decisions, flipped: calls at Youden's point of validation, and how many of them are others.
        latency_ms_*, eager_ms_*: median and quartiles of one image with all maps, and of PyTorch without maps, in
            `repeats` rounds that time both, with THREADS thread.
        faster, faster_low, faster_high: how many times as long PyTorch takes (`latency_ratio`).
        cpu, threads.
    """
    answers, differences, correlations = _on_test_side(exported, model, data)
    of_network, of_exported = (auroc(test.labels, logits) for logits in (test.logits, answers))
    scored = np.isfinite(of_network)
    decisions, flipped = _flips(exported, test.logits, answers)
    times = _times(exported, model, repeats)
    return {
        "network": model.name,
        "precision": exported.metadata.precision,
        "runtime": exported.runtime,
        "file_mb": exported.path.stat().st_size / 2**20,
        "images": len(answers),
        "findings": int(scored.sum()),
        "logit_difference": float(np.abs(answers - test.logits).max()),
        "map_difference": max(differences),
        "map_correlation": float(np.nanmin(correlations)) if np.isfinite(correlations).any() else float("nan"),
        "auroc": float(of_network[scored].mean()) if scored.any() else float("nan"),
        "auroc_exported": float(of_exported[scored].mean()) if scored.any() else float("nan"),
        "auroc_difference": float(np.abs(of_exported - of_network)[scored].max(initial=0)),
        "decisions": decisions,
        "flipped": flipped,
        **times,
        "cpu": cpu_name(),
        "threads": THREADS,
    }


def _on_test_side(
    exported: ExportedModel, model: CxrClassifier, data: Prepared
) -> tuple[np.ndarray, list[float], np.ndarray]:
    """Return the exported model's logits (N, L), and how its maps differ from the network's in each batch."""
    explain = one_pass(model.eval())
    logits, differences, correlations = [], [], []
    for batch in data.batches("test", AT_ONCE, augment=None, shuffle=False).epoch(0):
        pixels = (batch.images * 255).round().to(torch.uint8)  # as they were: a batch holds them divided by 255
        answers = exported.run(pixels[:, 0].numpy())
        with torch.inference_mode():
            evidence = explain(pixels)[1].numpy()
        logits.append(answers.logits)
        differences.append(float(np.abs(answers.evidence - evidence).max()))
        one, other = (maps.reshape(-1, *maps.shape[2:]) for maps in (answers.evidence, evidence))
        correlations.append(rank_correlation(one, other))
    return np.concatenate(logits), differences, np.concatenate(correlations)


def _flips(exported: ExportedModel, first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Return the number of calls at Youden's points, and how many differ between two arrays of logits (N, L)."""
    thresholds = np.array([exported.metadata.threshold(name, "youden") for name in exported.metadata.names], float)
    has = np.isfinite(thresholds)
    calls, others = (logits[:, has] >= thresholds[has] for logits in (first, second))
    return calls.size, int((calls != others).sum())


def _times(exported: ExportedModel, model: CxrClassifier, repeats: int) -> dict[str, float]:
    image = np.random.default_rng(0).integers(0, 256, (1, model.image_size, model.image_size), dtype=np.uint8)
    tensor = torch.from_numpy(image)[None]

    def eager() -> object:
        with torch.inference_mode():
            return model(tensor)

    found = calls_in_turn_ms({"latency": lambda: exported.run(image), "eager": eager}, repeats=repeats, threads=THREADS)
    times = {
        f"{name}_ms_{end}": float(value)
        for name, milliseconds in found.items()
        for end, value in zip(("p25", "median", "p75"), np.percentile(milliseconds, (25, 50, 75)), strict=True)
    }
    ratio = latency_ratio(found["eager"], found["latency"])
    return times | dict(zip(("faster", "faster_low", "faster_high"), ratio, strict=True))
