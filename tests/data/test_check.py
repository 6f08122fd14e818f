"""A data set is compared with its publication and checked for faults before anyone trains on it."""

import gzip
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from miniatures import write_chexpert, write_padchest
from PIL import Image
from writable import copy_writable

from cxr_kd.data.check import Check, check
from cxr_kd.data.file_scan import scan_files
from cxr_kd.data.readers.chestxray14 import FINDINGS, POSITIVES
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import DataSettings, FolderSettings, PadchestSettings

NIH = DataSettings(dataset="chestxray14")
ABSENT = "findings without a positive image: neither learned nor scored"
DARK = "images without a pixel brighter than 63 (of 255)"
OWN = DataSettings(dataset="folder", findings=("Mass", "Edema"), folder=FolderSettings(age="age"))


def by_name(checks: list[Check]) -> Mapping[str, Check]:
    named = {each.what: each for each in checks}
    assert len(named) == len(checks)
    return named


def folder(root: Path, *rows: str, names: Iterable[str] = tuple(f"{name}.png" for name in "abcdefghij")) -> Path:
    """Write a folder of own data with 8 px images of noise."""
    root.mkdir(exist_ok=True)
    written = rows or tuple(f"{name},p{i},{30 + i},{i % 2},{int(i == 2)}" for i, name in enumerate(names))
    (root / "labels.csv").write_text("\n".join(["path,patient_id,age,Mass,Edema", *written]) + "\n")
    for i, name in enumerate(names):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)).save(root / name)
    return root


@pytest.fixture(scope="session")
def label_table(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the whole published label table of ChestX-ray14 with both lists and without images."""
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


def test_one_missing_row_is_a_problem_and_half_of_the_rows_only_differ(label_table: Path, tmp_path: Path) -> None:
    lines = (label_table / "Data_Entry_2017_v2020.csv").read_text().splitlines()
    for kept, verdict in ((len(lines) - 1, "problem"), (len(lines) // 2, "differs")):
        (tmp_path / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines[:kept]) + "\n")
        images = by_name(check(NIH, tmp_path, images=False))["images in the label table"]
        assert (images.expected, images.found, images.verdict) == (112_120, kept - 1, verdict)
        assert ("counts as a part" in images.detail) == (verdict == "differs")


def test_a_patient_on_both_published_lists_is_named(label_table: Path, tmp_path: Path) -> None:
    copy_writable(label_table, tmp_path)
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


def test_missing_unlisted_unreadable_and_empty_images_are_found(tmp_path: Path) -> None:
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
        "findings with fewer than 10 positives or negatives in the test": (2, "differs"),
        "unreadable image files": (2, "problem"),
    }
    assert found["unreadable image files"].detail.startswith("b.png: the file is empty (0 bytes); c.png: every pixel")


def test_rows_without_a_file_only_differ_in_part_of_a_published_data_set(test_data: Path, tmp_path: Path) -> None:
    copy_writable(test_data / "chestxray14-mini", tmp_path)
    first = next((tmp_path / "images").iterdir())
    first.unlink()
    found = by_name(check(NIH, tmp_path, progress=False))
    missing = found["rows whose image file is not there"]
    assert (missing.expected, missing.found, missing.verdict) == (0, 1, "differs")
    assert "problem" not in {each.verdict for each in found.values()}


def test_a_file_with_a_storage_fault_is_listed_and_the_others_are_scanned(
    noise_table: Callable[..., CxrTable],
) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("no /proc here with a file that can't be read")
    table = noise_table(3)
    path = table.frame["path"][1]
    (table.root / path).unlink()
    (table.root / path).symlink_to("/proc/self/mem")
    found = scan_files(table, progress=False)
    assert found.images == 3
    assert found.unreadable == {path: "cannot be read ([Errno 5] Input/output error)"}


@pytest.mark.parametrize(("dark", "verdict"), [(6, "problem"), (5, "ok")])
def test_mostly_dark_images_are_a_problem_that_a_setting_of_the_study_solves(
    tmp_path: Path, dark: int, verdict: str
) -> None:
    root = folder(tmp_path / "own")
    for name in "abcdefghij"[:dark]:  # 12 bits of 16
        values = np.random.default_rng(0).integers(0, 4096, (8, 8)).astype(np.uint16)
        Image.fromarray(values).save(root / f"{name}.png")
    found = by_name(check(OWN, root, progress=False))[DARK]
    assert (found.found, found.verdict) == (dark, verdict)
    assert ("`intensity: per-image`" in found.detail) == (verdict == "problem")
    stretched = by_name(check(OWN, root, intensity="per-image", progress=False))[DARK]
    assert (stretched.found, stretched.verdict) == (0, "ok")


def test_unreadable_images_are_not_counted_as_bright(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    for name in "abcdefgh":
        (root / f"{name}.png").write_bytes(b"")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(root / "i.png")
    Image.fromarray(np.arange(63, -1, -1, dtype=np.uint8).reshape(8, 8)).save(root / "j.png")
    found = by_name(check(OWN, root, intensity="per-image", progress=False))[DARK]
    assert (found.found, found.verdict) == (2, "problem")
    assert found.detail == "greys of 8 bits are used as they are stored"


def test_own_data_is_not_compared_with_published_counts(tmp_path: Path) -> None:
    found = by_name(check(OWN, folder(tmp_path / "own"), images=False))
    assert found["images in the label table"] == Check("images in the label table", "", 10)
    assert found["patients"].found == 10


@pytest.mark.parametrize(
    ("with_test", "images", "sides"),
    [(False, 223_648, ["train_val", "test"]), (True, 224_316, ["train", "validation", "test"])],
)
def test_chexpert_is_compared_with_the_edition_that_it_is(tmp_path: Path, with_test: bool, images: int, sides) -> None:
    root = write_chexpert(tmp_path, patients=20, with_test=with_test)
    found = by_name(check(DataSettings(dataset="chexpert"), root, progress=False))
    assert found["images in the label table"].expected == images
    assert [what for what in found if what.startswith("published") and what.endswith("images")] == [
        f"published {side}: images" for side in sides
    ]
    assert found["lateral views"].verdict == "ok"  # the study does not read this view, so nothing is missing
    assert "rows whose image file is not there" not in found


def test_unknown_labels_are_counted_and_a_finding_without_positives_is_a_problem(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", "a.png,1,50,1,", "b.png,2,412,0,0", "c.png,3,,1,0")
    found = by_name(check(OWN, root, images=False))
    assert found["labels unknown"].found == "1 of 6 (16.7%)"
    assert found["ages unknown"].found == "2 of 3 (66.7%)"
    assert found["sexes unknown"].found == "3 of 3 (100.0%)"
    assert (found["positives: Mass"].found, found["positives: Mass"].verdict) == (2, "ok")
    assert found["positives: Edema"].found == 0
    assert (found[ABSENT].found, found[ABSENT].detail, found[ABSENT].verdict) == (1, "Edema", "problem")


def test_labels_and_ages_are_counted_over_the_images_that_are_used(tmp_path: Path) -> None:
    rows = ("a.png,1,50,1,0", "b.png,2,60,0,", "c.png,3,70,1,1", "d.png,4,,0,0")
    root = folder(tmp_path / "own", *rows, names=("a.png", "b.png", "d.png"))
    every_row, used = (by_name(check(OWN, root, images=images, progress=False)) for images in (False, True))
    assert every_row["positives: Edema"] == used["positives: Edema"] == Check("positives: Edema", "", 1)
    assert (every_row[ABSENT].verdict, used[ABSENT].verdict, used[ABSENT].detail) == ("ok", "problem", "Edema")
    unknown = ("labels unknown", "ages unknown")
    assert [every_row[what].found for what in unknown] == ["1 of 8 (12.5%)", "1 of 4 (25.0%)"]
    assert [used[what].found for what in unknown] == ["1 of 6 (16.7%)", "1 of 3 (33.3%)"]


def test_padchest_rows_that_the_study_does_not_read_count_only_in_published_counts(tmp_path: Path) -> None:
    root = write_padchest(tmp_path)
    lateral = DataSettings(dataset="padchest", padchest=PadchestSettings(projections=("L",)))
    found = by_name(check(lateral, root, progress=False))
    assert found["views"].found == f"L {found['images with a file'].found}"
    assert found["images in the label table"].found > found["images with a file"].found


def test_the_split_of_a_label_table_says_that_it_covers_every_row(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    of_every_row = "for every row of the label table: views, projections and image files were not checked"
    assert by_name(check(OWN, root, images=False))["split random-70-10-20"].detail == of_every_row
    assert by_name(check(OWN, root, progress=False))["split random-70-10-20"].detail == ""
    official = OWN.model_copy(update={"split": "official"})
    impossible = by_name(check(official, root, images=False))["split official"]
    assert impossible.verdict == "problem"
    assert impossible.detail.endswith(of_every_row)


def test_labels_without_images_are_still_checked(tmp_path: Path) -> None:
    found = by_name(check(OWN, folder(tmp_path / "own", "a.png,1,50,1,1", names=()), progress=False))
    assert found["positives: Mass"].found == 1
    assert found["image files"].verdict == "problem"
    assert "no image of the 1 rows" in found["image files"].detail


def test_a_data_set_without_a_label_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no labels\.csv"):
        check(OWN, tmp_path)


def test_two_processes_find_the_same_as_one_in_the_order_of_the_table(
    noise_table: Callable[..., CxrTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = noise_table(200)
    broken = [table.frame["path"][row] for row in (3, 70, 100, 199)]
    for path in broken:
        (table.root / path).write_bytes(b"")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(table.root / table.frame["path"][150])
    monkeypatch.setattr("cxr_kd.data.parallel.PROCESS_START_SECONDS", 0)
    one, two = (scan_files(table, workers=workers, progress=False) for workers in (1, 2))
    assert list(two.unreadable.items()) == list(one.unreadable.items())
    assert one.unreadable == dict.fromkeys(broken, "the file is empty (0 bytes)")
    assert (two.images, two.dark) == (one.images, one.dark) == (200, 1)


def test_findings_with_too_few_positives_to_be_scored_are_named(tmp_path: Path) -> None:
    names = [f"{number:03}.png" for number in range(200)]
    rows = [f"{name},p{i},50,{i % 2},{int(i % 20 == 0)}" for i, name in enumerate(names)]
    root = folder(tmp_path / "own", *rows, names=())
    few, none, all_ = (
        by_name(check(OWN, root, images=False, minimum_positives=minimum)).get(
            f"findings with fewer than {minimum} positives or negatives in the test"
        )
        for minimum in (10, 1, 1000)
    )
    assert (few.found, few.verdict) == (1, "differs")
    assert re.fullmatch(
        r"a finding is scored with at least 10 .*; too few: Edema \(\d and 3\d\)\. The .* out", few.detail
    )
    assert (none.found, none.verdict, none.detail) == (0, "ok", "")
    assert (all_.found, all_.verdict) == (2, "differs")
    assert all_.detail.endswith("No finding can be scored: the report has no results")
