"""A smaller file of a student's network: which one keeps its answers? Measured on validation images, chosen by a rule.

Candidates are the weights stored in 16 or in 8 bits (`stored_weights`) and the ways to compute in 8 bits (`int8`). One
that loses more than the study's limits is refused. Of the others, the fastest is chosen if it is faster than float32:
if the whole interval of the ratio is above FASTER; if none is, the smallest, which is offered for its size only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pandas as pd

from cxr_kd.data.prepare import Prepared
from cxr_kd.device import runtimes, stored_weights
from cxr_kd.device.exported import Answers, ExportedModel
from cxr_kd.device.int8 import Quantiser, ways
from cxr_kd.device.known_answer import image as check_image
from cxr_kd.device.latency import calls_in_turn_ms, faster
from cxr_kd.device.onnx_file import KnownAnswer, Precision, sealed, with_metadata
from cxr_kd.evaluation.metrics import auroc
from cxr_kd.evaluation.resampling import spread
from cxr_kd.files import written_whole
from cxr_kd.study.settings import Device

FILE = "model-small.onnx"  # in the run's folder
CANDIDATE = ("precision", "way", "file_mb", "images", "auroc_float32", "auroc", "auroc_loss", "finding", "finding_loss",
             "map_cosine", "faster", "faster_low", "faster_high", "refused", "chosen")  # fmt: skip
# Two files with the same arithmetic can differ by some hundredths for a whole session: their weights lie elsewhere.
FASTER = 1.1
SCORED = 1000  # most validation images that a candidate is scored on
# Processors round the results of 8-bit layers differently. Wrong kernels differ by far more: logits are 1 to 10.
INT8_TOLERANCE = 0.5


def smaller(exported: ExportedModel, data: Prepared, device: Device) -> tuple[ExportedModel | None, pd.DataFrame]:
    """Write the chosen smaller file as FILE beside an exported float32 model; return it and the table of candidates.

    One row per candidate: precision, way ("" for stored weights), file_mb (2**20 bytes), images (that it was scored
    on), auroc and auroc_float32 (means over findings), auroc_loss, finding (that loses the most) and finding_loss,
    map_cosine (mean over the maps of all images and findings, of their positive parts), faster, faster_low,
    faster_high (time of float32 over its own, one thread), refused ("" or the reason), chosen. An older FILE is
    removed if all are refused, and None is returned.
    """
    pixels, labels = _scored(data)
    float32 = ExportedModel.load(exported.path, threads=1)
    wanted = float32.run(pixels)
    out = exported.path.with_name(FILE)
    with TemporaryDirectory() as name:
        rows: list[dict[str, Any]] = []
        files: list[Path] = []
        for precision, way, model in _candidates(float32, pixels, device, Path(name)):
            files.append(Path(name, f"candidate-{len(files)}.onnx"))
            _write(float32, model, precision, way, files[-1])
            candidate = ExportedModel.load(files[-1], threads=1)
            found = scores(float32.metadata.names, labels, wanted, candidate.run(pixels))
            speed = _speed(float32, candidate, pixels[:1], device)
            told = {"precision": precision, "way": way, "file_mb": files[-1].stat().st_size / 2**20}
            rows.append({**told, **found, **speed, "refused": refusal(found, device)})
        table = pd.DataFrame(rows)
        position = choose(table)
        table["chosen"] = table.index == position
        if position is None:
            out.unlink(missing_ok=True)
            return None, table
        with written_whole(out) as temporary:
            temporary.write_bytes(files[position].read_bytes())
    return ExportedModel.load(out), table


def scores(findings: Sequence[str], labels: np.ndarray, wanted: Answers, found: Answers) -> dict[str, Any]:
    """Return what a candidate's answers lose against float32's, for labels (N, L), NaN where unknown; see `smaller`.

    `findings`: the L names. Without any finding that has an AUROC, `finding` is "" and the losses are NaN.
    """
    before, after = auroc(labels, wanted.logits), auroc(labels, found.logits)
    losses = before - after
    scored = np.isfinite(losses)
    worst = int(np.nanargmax(losses)) if scored.any() else None
    return {
        "images": len(labels),
        "auroc_float32": mean_or_nan(before[scored]),
        "auroc": mean_or_nan(after[scored]),
        "auroc_loss": mean_or_nan(losses[scored]),
        "finding": "" if worst is None else findings[worst],
        "finding_loss": float("nan") if worst is None else float(losses[worst]),
        "map_cosine": map_cosine(wanted.evidence, found.evidence),
    }


def map_cosine(wanted: np.ndarray, found: np.ndarray) -> float:
    """Return the mean cosine of maps, the positive parts of evidence (N, L, h, w), where the wanted map is not 0."""
    one, other = (np.maximum(evidence, 0).reshape(-1, evidence[0, 0].size) for evidence in (wanted, found))
    lengths = np.linalg.norm(one, axis=1)
    shown = lengths > 0
    one, other, lengths = one[shown], other[shown], lengths[shown]
    return mean_or_nan((one * other).sum(axis=1) / np.maximum(lengths * np.linalg.norm(other, axis=1), 1e-12))


def refusal(row: Mapping[str, Any], device: Device) -> str:
    """Return why a candidate with these `scores` is refused by the limits of a study, or ""."""
    reasons = []
    if row["auroc_loss"] > device.auroc_loss:
        reasons.append(f"loses {row['auroc_loss']:.3f} of the mean AUROC ({device.auroc_loss:g} allowed)")
    if row["finding_loss"] > device.finding_loss:
        reasons.append(
            f"loses {row['finding_loss']:.3f} of the AUROC of {row['finding']} ({device.finding_loss:g} allowed)"
        )
    if row["map_cosine"] < device.map_cosine:
        reasons.append(
            f"its maps have the mean cosine {row['map_cosine']:.3f} to float32's ({device.map_cosine:g} needed)"
        )
    return "; ".join(reasons)


def choose(table: pd.DataFrame) -> int | None:
    """Return the row that the rule chooses, or None if all are refused."""
    allowed = table[table["refused"] == ""]
    if allowed.empty:
        return None
    fast = allowed[allowed["faster_low"] > FASTER]
    best = allowed["file_mb"].idxmin() if fast.empty else fast["faster"].idxmax()
    return list(table.index).index(best)


def _candidates(
    float32: ExportedModel, pixels: np.ndarray, device: Device, folder: Path
) -> Iterator[tuple[Precision, str, onnx.ModelProto]]:
    model = onnx.load(float32.path)
    del model.metadata_props[:]
    yield "float16", "", stored_weights.in_float16(model)
    yield "int8_weights", "", stored_weights.in_int8(model)
    if device.int8:
        quantiser = Quantiser(model, spread(pixels, device.int8.calibration_images), folder)
        for way in ways(device.int8) if quantiser.layers else []:
            yield "int8", str(way), quantiser.quantised(way)


def _write(float32: ExportedModel, model: onnx.ModelProto, precision: Precision, way: str, file: Path) -> None:
    """Write a candidate with its own known answer, by onnxruntime."""
    image = check_image(float32.metadata.image_size)
    logits = runtimes.load("onnxruntime", model.SerializeToString(), file, 1).run(image[None, None])["logits"][0]
    tolerance = INT8_TOLERANCE if precision == "int8" else float32.metadata.known_answer.tolerance
    known = KnownAnswer(logits=tuple(logits.tolist()), tolerance=tolerance)
    told = float32.metadata.model_copy(update={"precision": precision, "way": way, "known_answer": known})
    file.write_bytes(sealed(with_metadata(model, told)))


def _speed(float32: ExportedModel, candidate: ExportedModel, image: np.ndarray, device: Device) -> dict[str, float]:
    took = calls_in_turn_ms(
        {"float32": lambda: float32.run(image), "candidate": lambda: candidate.run(image)},
        repeats=device.latency_repeats,
    )
    return faster(took["float32"], took["candidate"])


def _scored(data: Prepared) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels, uint8 (N, S, S), and labels (N, L), NaN where unknown, of at most SCORED validation images."""
    ids = spread(np.array(data.split.validation, dtype=object), SCORED)
    labels = data.table.labels()[data.table.positions(ids)]
    return data.cache.pixels(data.cache.rows(ids)), labels


def mean_or_nan(values: np.ndarray) -> float:
    """Return the mean of an array, NaN if it is empty."""
    return float(values.mean()) if values.size else float("nan")
