"""One table of what happens with each kind of bad input.

Files that cannot be read are set aside and counted. Tables with invalid rows stop with file, line and column. Nothing
is repaired silently.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_kd.data import read
from cxr_kd.data.cache import Cache, build_cache
from cxr_kd.data.images.decode import MOST_PIXELS
from cxr_kd.data.splits import make_split
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import DataSettings, FolderSettings, SplitLists

HEADER = "path,patient_id,age,sex,Effusion,Mass"
ROWS = tuple(f"images/{number}.png,p{number // 2},5{number},F,{number % 2},0" for number in range(6))
BAD = "images/2.png"  # the image, or the row, that each case makes bad
FOLDER = FolderSettings(age="age", sex="sex")


@dataclass(frozen=True)
class Read:
    """The input is accepted."""

    check: Callable[[CxrTable, Cache], bool] = lambda table, cache: True


@dataclass(frozen=True)
class Quarantined:
    """The file is set aside with this reason; the other five are read."""

    reason: str


@dataclass(frozen=True)
class Counted:
    """The table counts one file or row under this reason."""

    reason: str


@dataclass(frozen=True)
class Stops:
    """Nothing is read; the message matches this."""

    told: str


End = Read | Quarantined | Counted | Stops


def radiograph(size: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(2).integers(0, 256, (size, size), dtype=np.uint8))


def healthy(root: Path) -> Path:
    (root / "images").mkdir()
    for number in range(6):
        radiograph().save(root / f"images/{number}.png")
    return table(root, *ROWS)


def table(root: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return root


def with_row(root: Path, row: str) -> Path:
    """Replace the third row (line 4 of the file) by this one."""
    return table(root, *ROWS[:2], row, *ROWS[3:])


def truncated(root: Path) -> None:
    content = (root / BAD).read_bytes()
    (root / BAD).write_bytes(content[: len(content) // 2])


def enormous(root: Path) -> None:
    side = int(MOST_PIXELS**0.5) + 100
    Image.new("1", (side, side)).convert("L").save(root / BAD)


def linked_file(root: Path) -> None:
    radiograph().save(root.parent / "outside.png")
    (root / BAD).unlink()
    os.symlink(root.parent / "outside.png", root / BAD)


def linked_folder(root: Path) -> None:
    (root / "images").rename(root.parent / "elsewhere")
    os.symlink(root.parent / "elsewhere", root / "images")


def age_of_third(years: float) -> Read:
    return Read(lambda table, cache: bool(np.isclose(table.frame["age"].iloc[2], years, equal_nan=True)))


def lists_with_a_patient_on_two_sides(root: Path) -> None:
    for side, numbers in (("train", "012"), ("validation", "3"), ("test", "45")):  # p1 has 2 and 3
        (root / f"{side}.txt").write_text("\n".join(f"images/{number}.png" for number in numbers))


def a_list_of_an_unknown_image(root: Path) -> None:
    for side, numbers in (("train", "01"), ("validation", "23"), ("test", "457")):
        (root / f"{side}.txt").write_text("\n".join(f"images/{number}.png" for number in numbers))


SIXTEEN_BIT = Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64)

# name -> (what is changed in the healthy folder, what must happen)
CASES: dict[str, tuple[Callable[[Path], object], End]] = {
    # image files
    "zero bytes": (lambda root: (root / BAD).write_bytes(b""), Quarantined(r"the file is empty \(0 bytes\)")),
    "truncated": (truncated, Quarantined("not a complete")),
    "text named .png": (lambda root: (root / BAD).write_text("404 not found"), Quarantined("not a")),
    "JPEG named .png": (lambda root: radiograph().save(root / BAD, format="JPEG"), Read()),
    "RGBA": (lambda root: radiograph().convert("RGBA").save(root / BAD), Read()),
    "palette": (lambda root: radiograph().convert("P").save(root / BAD), Read()),
    "16 bit": (lambda root: SIXTEEN_BIT.save(root / BAD), Read(lambda table, cache: 200 < cache.images[2].max() < 256)),
    "1 bit": (lambda root: radiograph().convert("1").save(root / BAD), Quarantined("1")),
    "CMYK": (lambda root: radiograph().convert("CMYK").save(root / BAD, format="JPEG"), Quarantined("CMYK")),
    "constant": (lambda root: Image.new("L", (32, 32), 7).save(root / BAD), Quarantined("every pixel")),
    "decompression bomb": (enormous, Quarantined("pixels: not a radiograph")),
    "missing file": (lambda root: (root / BAD).unlink(), Counted("rows whose image file is not there")),
    "file that no row names": (
        lambda root: radiograph().save(root / "images/9.png"),
        Counted("image files that no row names"),
    ),
    "link to a file outside": (
        linked_file,
        Stops(r"line 4, column 'path': 'images/2\.png' is reached by a symbolic link out"),
    ),
    "link to a folder outside": (
        linked_folder,
        Stops(r"6 problems:\n  line 2, .*images/0\.png' is reached by a symbolic link"),
    ),
    # rows
    "a row twice": (
        lambda root: table(root, *ROWS, ROWS[2]),
        Stops(r"labels\.csv, line 8, column 'path': 'images/2\.png' is on line 4"),
    ),
    "no patient": (lambda root: with_row(root, f"{BAD},,52,F,0,0"), Stops(r"line 4, column 'patient_id': '' ")),
    "a path that climbs out": (
        lambda root: with_row(root, "../../x.png,p1,52,F,0,0"),
        Stops(r"line 4, column 'path': '\.\./\.\./x\.png'"),
    ),
    "an absolute path": (
        lambda root: with_row(root, "/etc/x.png,p1,52,F,0,0"),
        Stops(r"line 4, column 'path': '/etc/x\.png'"),
    ),
    "age 061Y": (lambda root: with_row(root, f"{BAD},p1,061Y,F,0,0"), age_of_third(61)),
    "age 412": (lambda root: with_row(root, f"{BAD},p1,412,F,0,0"), age_of_third(np.nan)),
    "age blank": (lambda root: with_row(root, f"{BAD},p1,,F,0,0"), age_of_third(np.nan)),
    "an invalid label": (
        lambda root: with_row(root, f"{BAD},p1,52,F,maybe,0"),
        Stops(r"line 4, column 'Effusion': 'maybe'"),
    ),
    # tables
    "byte order mark": (lambda root: table(root, *ROWS, encoding="utf-8-sig"), Read()),
    "semicolons": (
        lambda root: table(root, *(row.replace(",", ";") for row in ROWS), header=HEADER.replace(",", ";")),
        Read(),
    ),
    "an extra column": (lambda root: table(root, *(f"{row},note" for row in ROWS), header=f"{HEADER},remark"), Read()),
    "a missing column": (
        lambda root: table(root, *ROWS, header=HEADER.replace("patient_id", "patient")),
        Stops(r"labels\.csv: no column 'patient_id'; the columns are path, patient, "),
    ),
    "an unknown finding": (
        lambda root: table(root, *ROWS, header=HEADER.replace("Mass", "Masse")),
        Stops(r"labels\.csv: no column 'Mass'; the columns are .*Masse"),
    ),
    "not UTF-8": (
        lambda root: table(root, *ROWS, "images/M\xfcller.png,p9,52,F,0,0", encoding="latin-1"),
        Stops(r"labels\.csv, line 8: not UTF-8"),
    ),
    "cut off": (
        lambda root: (root / "labels.csv").write_text("\n".join([HEADER, *ROWS])[:-6]),
        Stops(r"labels\.csv, line 7: \d fields, but the header has 6"),
    ),
    "a patient on two sides of the given lists": (
        lists_with_a_patient_on_two_sides,
        Stops("1 patients have images on two sides, .*: p1"),
    ),
    "a list with an unknown image": (
        a_list_of_an_unknown_image,
        Stops(r"test\.txt: 1 of its 3 images are in no row of the label table, e\.g\. 'images/7\.png'"),
    ),
}


def taken_in(root: Path) -> tuple[CxrTable, Cache]:
    """Return table and cache, made as every study makes them, with the split by the user's lists if there are any."""
    lists = SplitLists(train="train.txt", validation="validation.txt", test="test.txt")
    given = {"split": "lists", "lists": lists} if (root / "train.txt").exists() else {"split": "random-70-10-20"}
    settings = DataSettings(dataset="folder", findings=("Effusion", "Mass"), folder=FOLDER, **given)
    found = read(settings, root)
    if settings.lists:
        make_split(found, settings.split, lists=settings.lists)
    return found, build_cache(found, root.parent / "cache", 32, progress=False)


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, tmp_path: Path):
    (tmp_path / "root").mkdir()
    spoil, end = CASES[case]
    root = healthy(tmp_path / "root")
    spoil(root)
    if isinstance(end, Stops):
        with pytest.raises(DataError, match=end.told):
            taken_in(root)
        assert not (tmp_path / "cache").exists()
        return
    found, cache = taken_in(root)
    reasons = cache.quarantine["reason"].tolist()
    if isinstance(end, Quarantined):
        assert cache.quarantine["path"].tolist() == [BAD]
        assert re.search(end.reason, reasons[0])
        assert len(cache.index) == 5
    else:
        assert reasons == []
    if isinstance(end, Counted):
        assert found.left_out == {end.reason: 1}
    if isinstance(end, Read):
        assert len(found) == len(cache.index) == 6
        assert end.check(found, cache)


def test_the_healthy_folder_is_read_whole(tmp_path: Path):
    (tmp_path / "root").mkdir()
    found, cache = taken_in(healthy(tmp_path / "root"))
    assert (len(found), len(cache.quarantine), dict(found.left_out)) == (6, 0, {})


def test_one_bad_row_does_not_hide_the_others(tmp_path: Path):
    """Each kind of bad row at once: every one is named with its line, in the order of the lines."""
    root = tmp_path / "root"
    root.mkdir()
    healthy(root)
    os.symlink(tmp_path / "outside.png", root / "images/out.png")
    radiograph().save(tmp_path / "outside.png")
    bad = (
        "../x.png,p9,52,F,0,0",
        f"images/{'ä' * 150}.png,p9,52,F,0,0",
        '"images/two\nlines.png",p9,52,F,0,0',
        "images/out.png,p9,52,F,0,0",
        "images/9.png,,52,F,maybe,0",
        "images/1.png,p9,52,F,0,0",
    )
    settings = DataSettings(dataset="folder", findings=("Effusion", "Mass"), folder=FOLDER)
    told = []
    for rows in (bad[:5], (*bad[:2], *bad), bad[2:]):
        table(root, *ROWS, *rows)
        with pytest.raises(DataError) as raised:
            read(settings, root)
        told.append(str(raised.value).splitlines())
    first, cut, last = told
    assert first[0].endswith("labels.csv: 6 problems:")
    expected = [
        r"  line 8, column 'path': '\.\./x\.png' is not a path inside",
        r"  line 9, column 'path': 'images/ä+\.png' is longer than file names can be \(255 bytes\)",
        r"  line 11, column 'path': 'images/two\\nlines\.png' has a line break or other control character",
        r"  line 12, column 'path': 'images/out\.png' is reached by a symbolic link out of",
        r"  line 13, column '(patient_id|Effusion)': '(maybe)?' is",
        r"  and 1 more",
    ]
    assert len(first) == 1 + len(expected)
    assert all(re.match(pattern, line) for pattern, line in zip(expected, first[1:], strict=True))
    assert cut[0].endswith("11 problems:")  # two rows more, and both also repeat an earlier path
    assert cut[-1] == "  and 6 more"
    assert last[-1].startswith("  line 12, column 'path': 'images/1.png' is on line 3 already")


def test_rows_of_the_wrong_length_are_all_named(tmp_path: Path):
    (tmp_path / "root").mkdir()
    root = table(healthy(tmp_path / "root"), *ROWS[:2], "images/7.png", ROWS[2], "a,b,c,d,e,f,g")
    with pytest.raises(DataError, match=r"2 problems:\n  line 4: 1 fields, .*\n  line 6: 7 fields, "):
        taken_in(root)
