"""The model card of an exported file: what it is, what it learned from, what was measured, and what it is not for.

The headings are those of Mitchell et al., Model Cards for Model Reporting (FAT* 2019). Every value is from the file's
metadata or from a file of the run or its study; what is not there is said to be not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from cxr_kd.device.onnx_file import Metadata
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.files import read_json, written_whole

MISSING = "Not there: {} was not found beside the run when this card was written."
CARD_END = ".md"


def write_model_card(exported: Path, told: Metadata, run: Path) -> Path:
    """Write the card beside an exported file with this metadata, with its name and the ending .md; return its path.

    `run`: the run's folder, or its weights file. The study's files are looked for in the folder above it.
    """
    out = exported.with_suffix(CARD_END)
    with written_whole(out) as temporary:
        temporary.write_text(model_card(told, run if run.is_dir() else run.parent, exported.name))
    return out


def model_card(told: Metadata, folder: Path, file: str) -> str:
    """Return the card as Markdown, for a model file called `file`, from the run's `folder` and the study's files."""
    sections = {
        "Model details": _details(told, _json(folder / "card.json")),
        "Intended use": f"{told.use} Frontal chest radiographs like the training data; a person must check all.",
        "Factors": _factors(folder.parent, told),
        "Metrics": _metrics(folder.parent, told),
        "Evaluation data": _side(folder, "test"),
        "Training data": _training_data(folder),
        "Quantitative analyses": _analyses(folder.parent, told),
        "Ethical considerations": "No result may guide the care of a patient. Groups of patients that are rare in the "
        "training data may be read worse.",
        "Caveats and recommendations": _caveats(told, _json(folder / "card.json")),
        "How to use it": "\n".join([
            "```sh", "pip install 'cxr-kd[predict]'", f"cxr-kd predict radiograph.png --model {file}",
            f"cxr-kd predict folder/ --model {file} --csv", "```",
        ]),
    }  # fmt: skip
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    return f"# {told.network}: {told.run}\n\n{body}\n"


def _details(told: Metadata, card: dict[str, Any]) -> str:
    lines = [
        f"Network {told.network}, {told.image_size} px, findings: {', '.join(told.names)}.",
        f"Study {told.study}, run {told.run}, weights {told.weights_sha256}; {' '.join((told.precision, told.way))}, "
        f"opset {told.opset}; " + ", ".join(f"{name} {number}" for name, number in told.versions.items()),
        f"Licence: {told.licence}",
    ]
    if not card:
        return _listed([*lines, "Training: " + MISSING.format("card.json")])
    objective = ", ".join(f"{weight:g} {loss}" for loss, weight in card["objective"].items())
    return _listed([
        *lines,
        f"Role: {card['role']}; teacher: {card['teacher'] or 'none'}; began with {card['start']}; losses: "
        f"{objective or 'none'}; {card['epochs']} epochs, seed {card['seed']}; finished {card['finished']}; code "
        f"{card['git_commit'] or 'unknown'}; {card['parameters']:,} parameters.",
    ])  # fmt: skip


def _factors(study: Path, told: Metadata) -> str:
    rows = _of_arm(study / "subgroups.csv", told)
    if rows is None:
        return MISSING.format("subgroups.csv")
    rows = rows[(rows["metric"] == "auroc") & (rows["finding"] == MEAN) & rows["value"].notna()]
    if rows.empty:
        return "No group of patients had enough positives for a mean AUROC."
    return "Mean AUROC over the group's findings:\n\n" + _table(
        ("by", "group", "patients", "AUROC (95 % interval)"),
        [(r["by"], r["group"], f"{r['patients']:,}", _estimate(r, "value", "low", "high")) for r in _records(rows)],
    )


def _metrics(study: Path, told: Metadata) -> str:
    calibrated = [finding.name for finding in told.findings if finding.calibrated]
    points = [
        (each.name, point.rule, f"{point.logit:+.2f}", f"{point.sensitivity:.2f}", f"{point.specificity:.2f}")
        for each in told.findings for point in each.operating_points
    ]  # fmt: skip
    calibration = f"Probabilities (Platt scaling on validation) of: {', '.join(calibrated) or 'no finding'}."
    columns = ("finding", "rule", "logit from", "sensitivity on validation", "specificity on validation")
    return f"AUROC on the test side. {calibration}\n\n" + (
        _table(columns, points) if points else "No operating points."
    )


def _side(folder: Path, side: str) -> str:
    sides = _json(folder / "card.json").get("split_sides", {})
    if side not in sides:
        return MISSING.format("the split in card.json")
    return f"The {side} side: {sides[side]['images']:,} images of {sides[side]['patients']:,} patients."


def _training_data(folder: Path) -> str:
    card, data = _json(folder / "card.json"), _json(folder.parent / "data.json")
    if not card:
        return MISSING.format("card.json")
    kind = "phantoms (synthetic radiographs that the project draws)" if card["kind"] == "phantom" else "radiographs"
    said = [f"{card['dataset']}, {kind}; split {card['split']} ({card['split_sha256']}).", _side(folder, "train")]
    source = {key: text for key, text in data.get("source", {}).items() if key in ("citation", "licence")}
    said += [f"{key}: {text}" for key, text in source.items()] or [MISSING.format("data.json")]
    return _listed([*said, _side(folder, "validation")])


def _analyses(study: Path, told: Metadata) -> str:
    parts = []
    rows = _of_arm(study / "evaluations.csv", told)
    if rows is None:
        parts.append(MISSING.format("evaluations.csv"))
    else:
        seeds = int(rows["seeds"].iloc[0])
        cells = [
            (r["finding"], "" if pd.isna(r["positives"]) else int(r["positives"]),
             r["left_out"] if _is_text(r["left_out"]) else _estimate(r, "auroc", "auroc_low", "auroc_high"))
            for r in _records(rows)
        ]  # fmt: skip
        over = f"Over {seeds} training(s) of this network; intervals over {rows['interval'].iloc[0]}.\n\n"
        parts.append(over + _table(("finding", "positives", "AUROC (95 % interval)"), cells))
    parts.append("### What the maps show\n\n" + _maps(study, told))
    parts.append("### The file, compared with its network\n\n" + _parity(study, told))
    return "\n\n".join(parts)


def _maps(study: Path, told: Metadata) -> str:
    what = (
        f"Evidence for each finding in {told.cells[0]} x {told.cells[1]} cells, in logits; no segmentation. A map on "
        "the finding does not mean that the network is right. "
    )
    rows = _of_arm(study / "explanations" / "maps.csv", told)
    if rows is None:
        return what + MISSING.format("explanations/maps.csv")
    rows = rows[(rows["kind"] == "network") & (rows["by"] == "all")]
    measured = [f"{r['measure']} {_estimate(r, 'estimate', 'low', 'high')}" for r in _records(rows)]
    return what + ("Measured against marked findings: " + ", ".join(measured) if measured else "Not measured.")


def _parity(study: Path, told: Metadata) -> str:
    file = study / "exported.csv"
    rows = pd.read_csv(file) if file.is_file() else pd.DataFrame({"run": [], "precision": []})
    rows = rows[(rows["run"] == told.run) & (rows["precision"] == told.precision)]
    if rows.empty:
        return MISSING.format("a row of this file in exported.csv")
    columns = ("runtime", "mean AUROC minus the network's", "largest difference of a logit", "calls that differ")
    cells = [
        (
            each["runtime"],
            _estimate(each, "auroc_change", "auroc_change_low", "auroc_change_high"),
            f"{each['logit_difference']:.1g}",
            f"{int(each['flipped']):,} of {int(each['decisions']):,}",
        )
        for each in _records(rows)
    ]
    return f"On {int(rows['images'].iloc[0]):,} test images:\n\n" + _table(columns, cells)


def _caveats(told: Metadata, card: dict[str, Any]) -> str:
    said = []
    if card.get("kind") == "phantom" or told.dataset == "phantom":
        said.append("It learned from phantoms (synthetic radiographs): nothing here is a claim about patients.")
    said.append("Other hospitals, devices and prevalences were not tried unless a table above says so.")
    if known := told.familiar:
        said.append(
            f"`cxr-kd predict` refuses images that look otherwise than the {known.train_images:,} training images; "
            f"{known.test_refused:,} of {known.test_images:,} test radiographs are refused wrongly. It does not notice "
            "every wrong image."
        )
    else:
        said.append("The file does not notice an image that is no radiograph.")
    return _listed(said)


def _of_arm(file: Path, told: Metadata) -> pd.DataFrame | None:
    """Return the rows of a study's table about this run's network, of all its seeds; None without the file or a row."""
    if not file.is_file():
        return None
    frame = pd.read_csv(file)
    rows = frame[frame["arm"] == told.run.rpartition("-seed")[0]]
    return None if rows.empty else rows


def _json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(file) if file.is_file() else {}
    return content


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _estimate(row: dict[str, Any], value: str, low: str, high: str) -> str:
    return f"{row[value]:.3f} ({row[low]:.3f} to {row[high]:.3f})"


def _listed(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
