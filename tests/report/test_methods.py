"""The methods as text: every value is from the settings or the files, and every citation has its reference."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cxr_kd.evaluation.study_results import SourceResults
from cxr_kd.report.citations import Citations, references
from cxr_kd.report.methods import methods_text
from cxr_kd.report.methods_training import LOSS_NAMES
from cxr_kd.report.study_files import StudyFiles, read_study_files
from cxr_kd.report.wording import counted, listed, number, percent
from cxr_kd.study import Study, load_study
from cxr_kd.study.loss_table import LOSSES

Pair = tuple[Study, StudyFiles]


@pytest.fixture(scope="module")
def pair(made: Callable[..., Path]) -> Pair:
    study = load_study(made("phantom", "phantom", (0,)) / "studies" / "artificial.yaml")
    return study, read_study_files(study)


def changed(study: Study, folder: Path, old: str, new: str) -> Study:
    """The study with another text in its file, which keeps its name."""
    text = study.file.read_text()
    assert old in text
    file = folder / study.file.name
    file.write_text(text.replace(old, new))
    return load_study(file)


CHANGES = [  # in the study file: old, new; in the methods: a piece that only the new study has
    ("epochs: 3}\nstudent", "epochs: 77}\nstudent", "77 epochs of AdamW"),
    ("student_training: {epochs: 3}", "student_training: {epochs: 3, batch_size: 48}", "batch size 48"),
    ("student_training: {epochs: 3}", "student_training: {epochs: 3, learning_rate: 0.0007}", "learning rate 0.0007"),
    ("student_training: {epochs: 3}", "student_training: {epochs: 3, weight_decay: 0.03}", "weight decay 0.03"),
    ("student_training: {epochs: 3}", "student_training: {epochs: 3, warmup_share: 0.2}", "warm-up over 20 % of"),
    ("student_training: {epochs: 3}", "student_training: {epochs: 3, gradient_clip: 2.5}", "clipped at norm 2.5"),
    ("student_training: {epochs: 3}", "student_training: {epochs: 3, accumulate: 4}", "accumulated over 4 batches"),
    ("student_training: {epochs: 3}", "student_training: {epochs: 3, ema_decay: 0.99}", "weights with decay 0.99"),
    ("student_training: {epochs: 3}", "student_training: {epochs: 3, patience: 5}", "stopped after 5 epochs without"),
    ("student_training: {epochs: 3}", "student_training: {epochs: 3, precision: bf16}", "bf16 precision"),
    ("seeds: [0]", "seeds: [0, 8]", "seeds 0 and 8"),
    ("seeds: [0]", "seeds: [0, 8]", "variance of Obuchowski and Rockette"),
    ("seeds: [0]", "seeds: [0]\nobjective: {bce: 1.0, binary_kl: 0.3}", "0.3 x the binary Kullback-Leibler"),
    ("seeds: [0]", "seeds: [0]\nlosses: {focusing: 3.5}", "focusing 3.5"),
    ("seeds: [0]", "seeds: [0]\nteacher_views: 9", "Students saw 9 fixed augmented views"),
    ("seeds: [0]", "seeds: [0]\naugmentation: {rotate_degrees: 11}", "rotated by up to 11 degrees"),
    ("seeds: [0]", "seeds: [0]\naugmentation: {translate: 0.08}", "moved by up to 8 %"),
    ("seeds: [0]", "seeds: [0]\naugmentation: {scale: 0.2}", "scaled by up to 20 %"),
    ("seeds: [0]", "seeds: [0]\naugmentation: {brightness: 0.3}", "brightness by up to 0.3"),
    ("seeds: [0]", "seeds: [0]\naugmentation: {contrast: 0.4}", "contrast by up to 40 %"),
    ("seeds: [0]", "seeds: [0]\npretrained: imagenet", "pretrained on ImageNet ["),
    ("seeds: [0]", "seeds: [0]\nkeep_aspect: true", "padded to a square"),
    ("seeds: [0]", "seeds: [0]\nintensity: per-image", "stretched per image"),
    ("seeds: [0]", "seeds: [0]\nexplanation: {images: 17}", "At most 17 positive test images"),
    ("seeds: [0]", "seeds: [0]\ndevice: {latency_repeats: 91}", "in 91 rounds"),
    ("image_size: 64", "image_size: 96", "to 96 x 96 pixels"),
    ("split: random-70-10-20", "split: random-70-10-20, split_seed: 6", "for testing (seed 6)"),
    ("resamples: 100", "resamples: 2345", "from 2,345 bootstrap resamples"),
    ("minimum_positives: 10", "minimum_positives: 21", "fewer than 21 positive"),
    ("minimum_positives: 10", "minimum_positives: 10, non_inferiority_margin: 0.04", "is above -0.04 ["),
    ("seeds: [0]", "seeds: [0]\nreporting: {registration: Registered as X-123.}", "Registration: Registered as X-123."),
    ("seeds: [0]", "seeds: [0]\nreporting: {setting: One hospital of mine.}", "Setting: One hospital of mine. Methods"),
    ("Does the report", "Is it true that the report", "Aim: Is it true that the report"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "piece"), CHANGES, ids=[piece for _, _, piece in CHANGES])
def test_a_changed_setting_changes_the_text(pair: Pair, tmp_path: Path, old: str, new: str, piece: str) -> None:
    study, files = pair
    assert piece not in methods_text(study, files)
    assert piece in methods_text(changed(study, tmp_path, old, new), files)


def test_values_of_the_files_are_in_the_text(pair: Pair) -> None:
    study, files = pair
    cards = {
        name: {**card, "versions": {"torch": "9.8.7"}, "device": "a machine"} for name, card in files.cards.items()
    }
    data = {**files.data, "images": 987654, "quarantined": 41, "left_out": {"a reason of its own": 13}}
    cost = files.cost.assign(cpu="A processor of its own", threads=6)
    text = methods_text(study, replace(files, cards=cards, data=data, cost=cost))
    for piece in ("987,654 images", "41 files could not be decoded", "13 (a reason of its own)", "torch 9.8.7",
                  "Trained on: a machine", "A processor of its own with 6 threads"):  # fmt: skip
        assert piece in text
        assert piece not in methods_text(study, files)


def test_real_data_are_cited_and_phantoms_are_called_that(pair: Pair) -> None:
    study, files = pair
    assert "phantoms, synthetic radiographs drawn by cxr_kd" in methods_text(study, files)
    real = methods_text(study, replace(files, data={**files.data, "kind": "full"}))
    assert "The data are Artificial radiographs [1]" in real
    assert "\n1. These tests\n" in real
    assert "phantom" not in real


def test_every_number_cited_is_in_the_list_and_every_reference_is_cited(pair: Pair) -> None:
    text = methods_text(*pair)
    body, _, listing = text.partition("## References")
    cited = {int(each) for group in re.findall(r"\[([\d, ]+)\]", body) for each in group.split(",")}
    numbers = [int(each) for each in re.findall(r"^(\d+)\. ", listing, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert cited == set(numbers)
    assert len(set(listing.strip().splitlines())) == len(numbers)


def test_a_study_that_scored_nothing_says_so(pair: Pair) -> None:
    study, files = pair
    poor = files.evaluations.assign(left_out="too few", auroc=float("nan"))
    assert "No finding has enough positive test images to be scored." in methods_text(
        study, replace(files, evaluations=poor)
    )


def test_the_abstract_is_about_the_source_of_the_headline(pair: Pair) -> None:
    study, files = pair
    inside = [frame.assign(source="B") for frame in (files.evaluations, files.comparisons)]
    inside[0]["auroc"] = 0.5123
    sources = SourceResults(inside[0], inside[1], files.evaluations)
    within = study.model_copy(update={"evaluation": study.evaluation.model_copy(update={"headline_source": "B"})})
    sides = {"B": files.data["split"]["sides"]}
    text = methods_text(within, replace(files, by_source=sources, data={**files.data, "image_sources": sides}))
    assert "mean AUROC over findings within source B" in text
    assert "mean AUROC of DenseNet-161 0.512" in text
    assert "On phantoms, within source B" in text


def test_every_loss_has_a_name_and_all_but_plain_cross_entropy_a_reference() -> None:
    assert set(LOSS_NAMES) == set(LOSSES)
    assert set(LOSSES) - set(references()) == {"bce"}


def test_references_are_whole() -> None:
    for key, text in references().items():
        assert re.search(r"(19|20)\d\d", text), key
        assert re.search(r".{50,}\.$", text), key


def test_citations_are_numbered_in_their_order_and_once() -> None:
    cite = Citations()
    assert [cite("torch"), cite.text("Mine, 2020."), cite("torch", "timm"), cite.text()] == ["[1]", "[2]", "[1, 3]", ""]
    assert cite.listed().splitlines()[1] == "2. Mine, 2020."
    with pytest.raises(KeyError):
        cite("nothing")


def test_numbers_and_lists_in_words() -> None:
    assert [number(112120), number(0.001), percent(0.05), percent(1 / 8)] == ["112,120", "0.001", "5 %", "12.5 %"]
    assert [listed([]), listed(["a"]), listed(["a", "b", "c"])] == ["", "a", "a, b and c"]
    assert [counted(1, "image"), counted(2, "body", "bodies")] == ["1 image", "2 bodies"]
