"""The source of each image is read, counted per side, and what does not fit is named."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from own_miniatures import write_image

from cxr_kd.data import read
from cxr_kd.data.image_sources import check_headline_source, source_counts, source_log_odds
from cxr_kd.data.prepare import Prepared
from cxr_kd.data.readers import chestxray14, folder
from cxr_kd.data.splits import Split, make_split
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError, StudyError
from cxr_kd.study import load_study
from cxr_kd.study.data_settings import DataSettings, FolderSettings

HEADER = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position"
NAMES = ("1.png", "2.png", "3.png", "4.png")
LABELS = ("Mass|Edema", "No Finding", "Mass", "No Finding")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """ChestX-ray14's layout with four images of two collections."""
    lines = [f"{name},{labels},{name[0]},50,F,PA" for name, labels in zip(NAMES, LABELS, strict=True)]
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text("\n".join([HEADER, *lines]))
    for name in NAMES:
        write_image(tmp_path / "images" / name, np.zeros((8, 8), np.uint8))
    write_sources(tmp_path)
    return tmp_path


def write_sources(root: Path, lines: tuple[str, ...] = ("4.png,B,1024", "1.png,A,300", "2.png,A,300", "3.png,B,1024")):
    (root / "sources.csv").write_text("\n".join(["name,source,width", *lines]))


def test_the_file_beside_the_label_table_gives_each_image_its_source(root: Path) -> None:
    table = chestxray14.read(root)
    assert table.frame["source"].tolist() == ["A", "A", "B", "B"]
    assert table.image_sources == ("A", "B")
    assert table.select(["4.png", "1.png"]).frame["source"].tolist() == ["B", "A"]


def test_a_data_set_without_sources_has_none(root: Path) -> None:
    (root / "sources.csv").unlink()
    table = chestxray14.read(root)
    assert table.frame["source"].tolist() == [""] * 4
    assert table.image_sources == ()
    assert source_counts(table, Split("lists", NAMES[:2], NAMES[2:3], NAMES[3:])) == {}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("1.png,A,", "2.png,A,", "3.png,A,"), r"no row for 1 of the 4 images, e\.g\. '4\.png'; add their sources, or"),
        (("1.png,A,", "5.png,A,"), r"line 3, column 'name': '5\.png' is no image of the label table"),
        (("1.png,A,", "1.png,B,"), r"line 3, column 'name': '1\.png' is on line 2 already"),
        (("1.png,A,", "2.png,,"), r"line 3, column 'source': '' is blank; each image needs a source"),
        (("1.png,A\x07B,",), r"line 2, column 'source': 'A\\x07B' has a control character"),
    ],
)
def test_rows_that_do_not_fit_the_label_table_are_named(root: Path, lines: tuple[str, ...], message: str) -> None:
    write_sources(root, lines)
    with pytest.raises(DataError, match=rf"sources\.csv(, |: ){message}"):
        chestxray14.read(root)


def test_a_wrong_column_is_named(root: Path) -> None:
    (root / "sources.csv").write_text("name,collection\n1.png,A\n")
    with pytest.raises(DataError, match=r"sources\.csv: no column 'source'; the columns are name, collection"):
        chestxray14.read(root)


def test_an_image_that_is_not_there_needs_no_source(root: Path) -> None:
    write_sources(root, ("1.png,A,", "2.png,A,", "3.png,B,"))
    (root / "images" / "4.png").unlink()
    assert chestxray14.read(root).frame["source"].tolist() == ["A", "A", "B"]
    assert chestxray14.read(root, images=False).frame["source"].tolist() == ["A", "A", "B", "unknown"]


def test_a_study_of_own_data_names_the_column(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.png"):
        write_image(tmp_path / name, np.zeros((8, 8), np.uint8))
    (tmp_path / "labels.csv").write_text(
        "path,patient_id,hospital,Mass\n1.png,p1,North ,1\n2.png,p2,,0\n3.png,p3,North,1\n"
    )
    settings = DataSettings(dataset="folder", findings=("Mass",), folder=FolderSettings(image_source="hospital"))
    table = read(settings, tmp_path)
    assert table.frame["source"].tolist() == ["North", "unknown", "North"]
    assert table.left_out == {"sources that are blank, taken as 'unknown'": 1}
    assert read(DataSettings(dataset="folder", findings=("Mass",)), tmp_path).image_sources == ()
    (tmp_path / "labels.csv").write_text("path,patient_id,hospital,Mass\n1.png,p1,a\x07b,1\n")
    with pytest.raises(DataError, match=r"line 2, column 'hospital': 'a\\x07b' has a control character"):
        read(settings, tmp_path)
    wrong = DataSettings(dataset="folder", findings=("Mass",), folder=FolderSettings(image_source="scanner"))
    with pytest.raises(DataError, match=r"labels\.csv: no column 'scanner'; the columns are path, patient_id"):
        read(wrong, tmp_path)
    with pytest.raises(DataError, match=r"none may be called .*source$"):
        folder.read(tmp_path, ("source",))


def frame_with(sources: list[str]) -> pd.DataFrame:
    about = {"view": "", "age": np.nan, "sex": "", "source": sources, "Mass": [1.0, 0.0]}
    return pd.DataFrame({"image_id": ["a", "b"], "path": ["a", "b"], "patient_id": ["1", "2"], **about})


def test_a_table_has_a_source_in_every_row_or_in_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'source' is blank, but other images have a source, in 1 rows.*row 1"):
        CxrTable("noise", "mini", tmp_path, frame_with(["A", ""]), ("Mass",))
    with pytest.raises(DataError, match=r"column 'source' is not text in 1 rows"):
        CxrTable("noise", "mini", tmp_path, frame_with(["A", 1]), ("Mass",))  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"column 'source' has a line break"):
        CxrTable("noise", "mini", tmp_path, frame_with(["A", "B\n"]), ("Mass",))


def test_positives_are_counted_per_source_and_side(root: Path) -> None:
    counts = source_counts(chestxray14.read(root), Split("lists", ("1.png", "2.png"), ("3.png",), ("4.png",)))
    assert list(counts) == ["A", "B"]
    train = counts["A"]["train"]
    assert (train["images"], train["patients"], train["without_finding"]) == (2, 2, 1)
    assert (train["positives"]["Mass"], train["positives"]["Hernia"], train["known"]["Mass"]) == (1, 0, 2)
    assert counts["B"]["train"]["images"] == 0
    assert counts["B"]["validation"]["positives"]["Mass"] == 1
    assert counts["B"]["test"]["without_finding"] == 1


def test_a_run_depends_on_the_sources_that_its_predictions_hold(root: Path) -> None:
    cache = SimpleNamespace(manifest={})

    def identity() -> str:
        return Prepared(chestxray14.read(root), cache, Split("lists", NAMES[:2], NAMES[2:3], NAMES[3:])).identity

    first = identity()
    assert identity() == first
    write_sources(root, ("1.png,A,", "2.png,A,", "3.png,A,", "4.png,B,"))
    second = identity()
    (root / "sources.csv").unlink()
    assert len({first, second, identity()}) == 3


def tested(**images: int) -> dict:
    return {source: {"test": {"images": count}} for source, count in images.items()}


def test_an_unknown_headline_source_is_refused_with_the_sources(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = Path(__file__).parents[2].joinpath("studies", "smoke.yaml").read_text()
    file.write_text(text.split("\nevaluation:")[0] + "\nevaluation: {headline_source: Z}\n")
    study = load_study(file)
    with pytest.raises(StudyError, match=r"headline_source is 'Z', but the sources of the test images are A, B\. "):
        check_headline_source(study, tested(A=3, B=2, Z=0))
    with pytest.raises(StudyError, match=r"headline_source is 'Z', but the images have no sources"):
        check_headline_source(study, {})
    check_headline_source(study, tested(A=3, Z=1))


def test_the_sources_of_the_real_radiographs(test_data: Path) -> None:
    root = test_data / "chestxray14-real224"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    table = chestxray14.read(root)
    counts = source_counts(table, make_split(table, "random-70-10-20"))
    images = {source: sum(side["images"] for side in sides.values()) for source, sides in counts.items()}
    assert images == {"A": 959, "B": 917, "C": 464, "D": 91, "E": 2}
    for side in ("train", "validation", "test"):  # every image of collection A is Pneumonia or nothing
        of_a = counts["A"][side]
        assert of_a["without_finding"] + of_a["positives"]["Pneumonia"] == of_a["images"]


def test_log_odds_are_those_of_each_images_own_source(root: Path) -> None:
    table = chestxray14.read(root, ["Mass", "Edema"])
    one_of_two, none_of_two = 0.0, np.log(0.5 / 2.5)  # (1 + 1/2) / (1 + 1/2) and (0 + 1/2) / (2 + 1/2)
    expected = [[one_of_two, one_of_two]] * 2 + [[one_of_two, none_of_two]] * 2
    np.testing.assert_allclose(source_log_odds(table, NAMES), expected, atol=1e-7)
    table.frame.loc[2, "Mass"] = np.nan  # unknown: one negative is left
    np.testing.assert_allclose(source_log_odds(table, NAMES)[2:, 0], np.log(0.5 / 1.5), atol=1e-7)
    table.frame["source"] = ""
    assert not source_log_odds(table, NAMES).any()
