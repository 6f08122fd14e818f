"""A data set is verified before anyone trains on it: what is published, what is there, what is wrong."""

import gzip
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from miniatures import write_chexpert
from PIL import Image

from cxr_kd.data.check import Check, check
from cxr_kd.data.chestxray14 import FINDINGS, POSITIVES
from cxr_kd.data.errors import DataError
from cxr_kd.data.readability import faults
from cxr_kd.data.table import CxrTable
from cxr_kd.settings import DataSettings, FolderSettings

NIH = DataSettings(dataset="chestxray14")
OWN = DataSettings(dataset="folder", findings=("Mass", "Edema"), folder=FolderSettings(age="age"))


def by_name(checks: list[Check]) -> Mapping[str, Check]:
    named = {each.what: each for each in checks}
    assert len(named) == len(checks)
    return named


def folder(root: Path, *rows: str, names: Iterable[str] = tuple(f"{name}.png" for name in "abcdefghij")) -> Path:
    """Write a folder of one's own, with 8 px images of noise."""
    root.mkdir(exist_ok=True)
    written = rows or tuple(f"{name},p{i},{30 + i},{i % 2},{int(i == 2)}" for i, name in enumerate(names))
    (root / "labels.csv").write_text("\n".join(["path,patient_id,age,Mass,Edema", *written]) + "\n")
    for i, name in enumerate(names):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)).save(root / name)
    return root


@pytest.fixture(scope="session")
def label_table(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole published label table of ChestX-ray14, with both lists, and no images."""
    root = tmp_path_factory.mktemp("chestxray14")
    with gzip.open(test_data / "Data_Entry_2017_v2020.csv.gz", "rt") as file:
        lines = file.read().splitlines()
    with gzip.open(test_data / "official_test_images.csv.gz", "rt") as file:
        test = file.read().split()
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")
    (root / "test_list.txt").write_text("\n".join(test))
    others = sorted({line.split(",")[0] for line in lines[1:]} - set(test))
    (root / "train_val_list.txt").write_text("\n".join(others))
    return root


def test_every_published_count_of_chestxray14_comes_out(label_table: Path) -> None:
    checks = check(NIH, label_table, images=False)
    assert {each.verdict for each in checks} == {"ok"}
    found = by_name(checks)
    assert {finding: found[f"positives: {finding}"].found for finding in FINDINGS} == POSITIVES
    counts = ("images in the label table", "patients", "published train_val: images", "published test: patients")
    assert [found[what].found for what in counts] == [112_120, 30_805, 86_524, 2_797]
    assert [found[what].expected for what in counts] == [112_120, 30_805, 86_524, 2_797]
    assert found["views"].found == "PA 67,310, AP 44,810"


def test_a_whole_table_that_lost_a_row_is_a_problem_and_a_half_one_differs(label_table: Path, tmp_path: Path) -> None:
    lines = (label_table / "Data_Entry_2017_v2020.csv").read_text().splitlines()
    for kept, verdict in ((len(lines) - 1, "problem"), (len(lines) // 2, "differs")):
        (tmp_path / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines[:kept]) + "\n")
        images = by_name(check(NIH, tmp_path, images=False))["images in the label table"]
        assert (images.expected, images.found, images.verdict) == (112_120, kept - 1, verdict)
        assert ("taken for a part" in images.detail) == (verdict == "differs")


def test_a_patient_on_both_published_lists_is_named(label_table: Path, tmp_path: Path) -> None:
    shutil.copytree(label_table, tmp_path, dirs_exist_ok=True)
    lists = [tmp_path / name for name in ("test_list.txt", "train_val_list.txt")]
    first, *others = lists[0].read_text().split()
    lists[0].write_text("\n".join(others))
    lists[1].write_text(lists[1].read_text() + "\n" + first)
    found = by_name(check(NIH.model_copy(update={"split": "official"}), tmp_path, images=False))
    assert found["published test: images"].verdict == "problem"
    shared = found["patients on two sides of the published split"]
    assert (shared.found, shared.verdict, shared.detail) == (1, "problem", str(int(first.split("_")[0])))
    assert found["split official"].verdict == "problem"
    assert "patients have images on two sides" in found["split official"].detail


def test_a_part_of_a_data_set_with_its_images_has_no_problem(test_data: Path) -> None:
    found = by_name(check(NIH, test_data / "chestxray14-mini", progress=False))
    assert {each.verdict for each in found.values()} == {"ok", "differs"}
    assert found["images in the label table"].verdict == "differs"
    assert found["unreadable image files"].found == 0


def test_missing_unnamed_unreadable_and_empty_pictures_are_found(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    (root / "a.png").unlink()
    (root / "b.png").write_bytes(b"")
    Image.new("L", (8, 8), 90).save(root / "c.png")
    (root / "z.png").write_bytes(b"")
    found = by_name(check(OWN, root, progress=False))
    verdicts = {what: (each.found, each.verdict) for what, each in found.items() if each.verdict != "ok"}
    assert verdicts == {
        "rows whose image file is not there": (1, "problem"),
        "image files that no row names": (1, "differs"),
        "unreadable image files": (2, "problem"),
    }
    assert found["unreadable image files"].detail.startswith("b.png: the file is empty (0 bytes); c.png: every pixel")


def test_own_data_is_held_against_nothing_published(tmp_path: Path) -> None:
    found = by_name(check(OWN, folder(tmp_path / "own"), images=False))
    assert found["images in the label table"] == Check("images in the label table", "", 10)
    assert found["patients"].found == 10


@pytest.mark.parametrize(
    ("with_test", "images", "sides"),
    [(False, 223_648, ["train_val", "test"]), (True, 224_316, ["train", "validation", "test"])],
)
def test_chexpert_is_held_against_the_edition_that_it_is(tmp_path: Path, with_test: bool, images: int, sides) -> None:
    root = write_chexpert(tmp_path, patients=20, with_test=with_test)
    found = by_name(check(DataSettings(dataset="chexpert"), root, progress=False))
    assert found["images in the label table"].expected == images
    assert [what for what in found if what.startswith("published") and what.endswith("images")] == [
        f"published {side}: images" for side in sides
    ]
    assert found["lateral views"].verdict == "ok"  # of a view that the study does not read: not missing
    assert "rows whose image file is not there" not in found


def test_what_nobody_said_is_counted_and_a_finding_that_nobody_has_is_a_problem(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", "a.png,1,50,1,", "b.png,2,412,0,0", "c.png,3,,1,0")
    found = by_name(check(OWN, root, images=False))
    assert found["labels unknown"].found == "1 of 6 (16.7%)"
    assert found["ages unknown"].found == "2 of 3 (66.7%)"
    assert found["sexes unknown"].found == "3 of 3 (100.0%)"
    assert (found["positives: Mass"].found, found["positives: Mass"].verdict) == (2, "ok")
    assert (found["positives: Edema"].found, found["positives: Edema"].verdict) == (0, "problem")


def test_labels_without_images_are_still_checked(tmp_path: Path) -> None:
    found = by_name(check(OWN, folder(tmp_path / "own", "a.png,1,50,1,1", names=()), progress=False))
    assert found["positives: Mass"].found == 1
    assert found["image files"].verdict == "problem"
    assert "no image of the 1 rows" in found["image files"].detail


def test_a_data_set_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no labels\.csv"):
        check(OWN, tmp_path)


def test_processes_find_what_one_process_finds_in_the_order_of_the_table(
    noise_table: Callable[..., CxrTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = noise_table(200)
    broken = [table.frame["path"][row] for row in (3, 70, 100, 199)]
    for path in broken:
        (table.root / path).write_bytes(b"")
    monkeypatch.setattr("cxr_kd.data.readability.PROCESS_START_SECONDS", 0)
    alone, together = (faults(table, workers=workers, progress=False) for workers in (1, 2))
    assert list(together.items()) == list(alone.items())
    assert alone == dict.fromkeys(broken, "the file is empty (0 bytes)")
