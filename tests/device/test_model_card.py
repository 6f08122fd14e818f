"""The model card says what the files say, and what is not there."""

import pandas as pd
from runs_to_export import write_fits, write_run

from cxr_kd.device.export import export
from cxr_kd.device.model_card import model_card, write_model_card
from cxr_kd.files import write_json

HEADINGS = ("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
            "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
            "How to use it")  # fmt: skip


def test_a_card_without_the_studys_files_says_what_is_missing(exported, run) -> None:
    card = model_card(exported.metadata, run, "student.onnx")
    assert [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")] == list(HEADINGS)
    for name in ("card.json", "evaluations.csv", "subgroups.csv", "explanations/maps.csv", "exported.csv"):
        assert f"{name} was not found" in card
    assert "learned from phantoms" in card
    assert "refuse" not in card  # this file has no detector
    assert "--model student.onnx" in card


def test_a_card_holds_the_measured_values(tmp_path) -> None:
    folder = tmp_path / "net-seed0"
    folder.mkdir()
    write_fits(write_run(folder))
    sides = {side: {"images": 1000 + n, "patients": 10 + n} for n, side in enumerate(("train", "validation", "test"))}
    write_json(folder / "card.json", {
        "role": "student", "teacher": "densenet121-seed0", "start": "random weights", "objective": {"bce": 0.5},
        "epochs": 7, "seed": 0, "finished": "2026-01-01", "git_commit": None, "parameters": 4_700_000,
        "split_sides": sides, "kind": "own", "dataset": "mine", "split": "lists", "split_sha256": "0" * 64,
    })  # fmt: skip
    row = {"arm": "net", "seeds": 1, "finding": "Mass", "positives": 31, "left_out": "", "interval": "patients",
           "auroc": 0.7123, "auroc_low": 0.65, "auroc_high": 0.77}  # fmt: skip
    rare = {**row, "finding": "Edema", "left_out": "2 positives"}
    pd.DataFrame([row, rare, {**row, "arm": "other", "auroc": 0.999}]).to_csv(tmp_path / "evaluations.csv", index=False)
    model = export(folder, tmp_path / "x.onnx")
    path = write_model_card(model.path, model.metadata, folder)
    assert path == tmp_path / "x.md"
    card = path.read_text()
    for told in ("| Mass | 31 | 0.712 (0.650 to 0.770) |", "| Edema | 31 | 2 positives |", "densenet121-seed0",
                 "1,002 images of 12 patients", "0.5 bce", "| Mass | youden | -100.00 | 0.80 | 0.70 |"):  # fmt: skip
        assert told in card
    assert "0.999" not in card
