"""Does an exported file decide as its network does? Both on the whole test side, and the time that each takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.device.export import export
from cxr_kd.device.exported import AT_ONCE, ExportedModel
from cxr_kd.device.latency import calls_in_turn_ms, cpu_name, faster
from cxr_kd.device.model_card import write_model_card
from cxr_kd.device.onnx_file import Metadata
from cxr_kd.device.runtimes import Runtime
from cxr_kd.device.smaller import CANDIDATE, mean_or_nan, smaller
from cxr_kd.evaluation.bootstrap import Bootstrap, bootstrap, difference
from cxr_kd.evaluation.metrics import auroc
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.explanation.methods.cam import one_pass
from cxr_kd.explanation.similarity import rank_correlation
from cxr_kd.files import write_csv
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study import Study
from cxr_kd.study.runs import Run

FILE, TABLE, SMALLER_TABLE = "model.onnx", "exported.csv", "smaller.csv"  # in the run's folder; in the study's
THREADS = 1


def write_exports(
    study: Study, runs: Sequence[Run], networks: Mapping[str, CxrClassifier], data: Prepared
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Export the network of each run to FILE in its folder, and a student's smaller file beside it (`smaller`).

    `networks`: name of a run -> its network. Writes and returns two tables with the column `run`: TABLE, one row per
    file and runtime (`compared`, `times`), and SMALLER_TABLE, one per candidate for the smaller file. A model card
    (`model_card`) is written beside each file.
    """
    rows, tried = [], [pd.DataFrame(columns=["run", *CANDIDATE])]
    written: dict[Path, Metadata] = {}
    for run in runs:
        folder = study.run_folder(run)
        float32 = export(folder, folder / FILE, overwrite=True)
        ways: list[tuple[Path, Runtime]] = [(float32.path, "onnxruntime")]
        if run.role != "teacher":
            small, candidates = smaller(float32, data, study.device)
            tried.append(candidates.assign(run=run.name))
            ways += [(small.path, "onnxruntime")] if small else []
        ways += [(float32.path, "openvino")]
        test = Predictions.read(folder / "predictions-test.parquet")
        known = OfNetwork(test, bootstrap(test, study.evaluation), evidence_of(networks[run.name], data))
        for file, runtime in ways:
            # The runtime's own threads would otherwise wait for work while another network is timed.
            exported = ExportedModel.load(file, threads=THREADS, runtime=runtime)
            row = compared(exported, known, data, study) | times(exported, networks[run.name], study)
            rows.append({"run": run.name, **row})
            written[file] = exported.metadata
    tables = pd.DataFrame(rows), pd.concat(tried, ignore_index=True)
    for name, table in zip((TABLE, SMALLER_TABLE), tables, strict=True):
        write_csv(study.runs_folder / name, table)
    for file, told in written.items():  # once the tables are there, which the cards show
        write_model_card(file, told, file.parent)
    return tables


@dataclass(frozen=True, eq=False)
class OfNetwork:
    """What a network itself says of the test side: its predictions, their bootstrap, its maps (`evidence_of`)."""

    predictions: Predictions
    bootstrap: Bootstrap
    evidence: Sequence[np.ndarray]


def compared(exported: ExportedModel, known: OfNetwork, data: Prepared, study: Study) -> dict[str, object]:
    """Return how an exported model differs from its network on the test side. Keys of the row:

    network, precision, way (of the metadata), runtime, file_mb (2**20 bytes), images, findings.
    logit_difference, map_difference: largest absolute difference in logits, over all images, findings (and cells).
    map_correlation: lowest rank correlation of two maps of one image and finding; NaN if all maps are constant.
    auroc, auroc_exported: mean over the findings that have one; auroc_change, auroc_change_low, auroc_change_high:
        the second minus the first, with its 95 % interval over patients.
    auroc_difference: largest absolute difference of a finding's AUROC.
    decisions, flipped: calls at Youden's point of validation, and how many of them are others.
    """
    test = known.predictions
    answers, differences, correlations = _on_test_side(exported, known.evidence, data)
    of_network, of_exported = (auroc(test.labels, logits) for logits in (test.logits, answers))
    scored = np.isfinite(of_network)
    decisions, flipped = _flips(exported, test.logits, answers)
    return {
        "network": exported.metadata.network,
        "precision": exported.metadata.precision,
        "way": exported.metadata.way,
        "runtime": exported.runtime,
        "file_mb": exported.path.stat().st_size / 2**20,
        "images": len(answers),
        "findings": int(scored.sum()),
        "logit_difference": float(np.abs(answers - test.logits).max()),
        "map_difference": max(differences),
        "map_correlation": float(np.nanmin(correlations)) if np.isfinite(correlations).any() else float("nan"),
        "auroc": mean_or_nan(of_network[scored]),
        "auroc_exported": mean_or_nan(of_exported[scored]),
        **_change(known, answers, study),
        "auroc_difference": float(np.abs(of_exported - of_network)[scored].max(initial=0)),
        "decisions": decisions,
        "flipped": flipped,
    }


def evidence_of(model: CxrClassifier, data: Prepared) -> list[np.ndarray]:
    """Return a network's plain maps of the test side, signed evidence in logits (B, L, h, w) for each batch."""
    explain = one_pass(model.eval())
    with torch.inference_mode():
        return [explain(torch.from_numpy(pixels)[:, None])[1].numpy() for pixels in data.pixels("test", AT_ONCE)]


def _change(known: OfNetwork, answers: np.ndarray, study: Study) -> dict[str, float]:
    test = known.predictions
    columns = {f"logit:{finding}": answers[:, position] for position, finding in enumerate(test.findings)}
    other = replace(test, frame=test.frame.assign(**columns))
    found = difference(known.bootstrap, bootstrap(other, study.evaluation)).inference("auroc")
    return {
        f"auroc_change{end}": float(values[-1])
        for end, values in (("", found.estimate), ("_low", found.low), ("_high", found.high))
    }


def _on_test_side(
    exported: ExportedModel, evidence: Sequence[np.ndarray], data: Prepared
) -> tuple[np.ndarray, list[float], np.ndarray]:
    """Return the exported model's logits (N, L), and how its maps differ from `evidence` in each batch."""
    logits, differences, correlations = [], [], []
    for pixels, wanted in zip(data.pixels("test", AT_ONCE), evidence, strict=True):
        answers = exported.run(pixels)
        logits.append(answers.logits)
        differences.append(float(np.abs(answers.evidence - wanted).max()))
        one, other = (maps.reshape(-1, *maps.shape[2:]) for maps in (answers.evidence, wanted))
        correlations.append(rank_correlation(one, other))
    return np.concatenate(logits), differences, np.concatenate(correlations)


def _flips(exported: ExportedModel, first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Return the number of calls at Youden's points, and how many differ between two arrays of logits (N, L)."""
    thresholds = np.array([exported.metadata.threshold(name, "youden") for name in exported.metadata.names], float)
    has = np.isfinite(thresholds)
    calls, others = (logits[:, has] >= thresholds[has] for logits in (first, second))
    return calls.size, int((calls != others).sum())


def times(exported: ExportedModel, model: CxrClassifier, study: Study) -> dict[str, object]:
    """Return the time of one image, with these keys.

    latency_ms_*, eager_ms_*: median and quartiles of one image with all maps, and of PyTorch without maps, in rounds
        that time both, with THREADS thread.
    faster, faster_low, faster_high: how many times as long PyTorch takes (`latency_ratio`).
    cpu, threads.
    """
    repeats = study.device.latency_repeats
    image = np.random.default_rng(0).integers(0, 256, (1, model.image_size, model.image_size), dtype=np.uint8)
    tensor = torch.from_numpy(image)[None]

    def eager() -> object:
        with torch.inference_mode():
            return model(tensor)

    found = calls_in_turn_ms({"latency": lambda: exported.run(image), "eager": eager}, repeats=repeats, threads=THREADS)
    milliseconds = {
        f"{name}_ms_{end}": float(value)
        for name, took in found.items()
        for end, value in zip(("p25", "median", "p75"), np.percentile(took, (25, 50, 75)), strict=True)
    }
    return milliseconds | faster(found["eager"], found["latency"]) | {"cpu": cpu_name(), "threads": THREADS}
