"""The phantom data set has the same pixels each time, resumes after a kill, and is read as a table."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as checks
from hypothesis import strategies as st
from PIL import Image

from cxr_kd.data.readers import phantom
from cxr_kd.data.readers.phantom import FINDINGS, PhantomSettings, draw, read, write
from cxr_kd.errors import DataError

SMALL = PhantomSettings(images=70, size=48, seed=5, minimum_rate=0.1)

# Mean brightness of each ninth of three of SMALL's phantoms, drawn by version 1.
GOLDEN = {
    0: [82.4, 136.0, 82.8, 119.9, 166.5, 126.4, 149.1, 211.2, 145.8],
    12: [83.4, 139.5, 75.2, 125.2, 175.7, 128.4, 189.6, 217.3, 127.5],
    40: [93.7, 153.1, 99.2, 166.2, 190.1, 144.8, 210.5, 228.7, 192.2],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    write(root, SMALL, progress=False)
    return root


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@given(seed=st.integers(0, 2**31), index=st.integers(0, 5000))
@checks(max_examples=15, deadline=None)
def test_a_phantom_is_a_function_of_seed_and_index(seed, index):
    few, many = (PhantomSettings(images=images, size=32, seed=seed) for images in (index + 20, index + 7000))
    one, again = draw(few, index), draw(many, index)
    np.testing.assert_array_equal(one.image, again.image)
    assert (one.patient_id, one.truth, one.labels, one.boxes) == (
        again.patient_id,
        again.truth,
        again.labels,
        again.boxes,
    )
    other = draw(few.model_copy(update={"seed": seed + 1}), index)
    assert (one.image != other.image).any()


def test_a_changed_drawing_has_a_new_number():
    """If this fails, the drawing changed: raise phantom.DRAWING and store the new values here."""
    assert phantom.DRAWING == 1
    for index, wanted in GOLDEN.items():
        ninths = draw(SMALL, index).image.reshape(3, 16, 3, 16).mean(axis=(1, 3)).ravel()
        np.testing.assert_allclose(ninths, wanted, atol=0.5)


def test_an_index_outside_the_settings_is_refused():
    with pytest.raises(IndexError, match="phantom 70 is not one of the 70"):
        draw(SMALL, 70)


def test_masks_and_boxes_are_those_of_the_truth():
    for index in range(SMALL.images):
        one = draw(SMALL, index)
        drawn = {name for name, present in one.truth.items() if present}
        assert set(one.masks) == set(one.boxes) == drawn
        for name, mask in one.masks.items():
            assert mask.shape == (48, 48)
            assert mask.dtype == bool
            x, y, width, height = (round(48 * value) for value in one.boxes[name])
            outside = mask.copy()
            outside[y : y + height, x : x + width] = False
            assert mask.any()
            assert not outside.any()


def test_another_size_shows_the_same_body():
    for index in (1, 8, 21):
        large, small = (draw(SMALL.model_copy(update={"size": size}), index).image for size in (192, 96))
        shrunk = large.reshape(96, 2, 96, 2).mean(axis=(1, 3))
        assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.99


def test_exposures_vary_and_stay_on_the_film():
    films = np.stack([draw(SMALL, index).image for index in range(SMALL.images)])
    assert films.mean(axis=(1, 2)).std() > 6
    assert 90 < films.mean() < 190  # like the real ones in 8 bits
    assert (films == 255).mean() < 0.1


def test_what_was_written_is_what_is_drawn(folder):
    table = read(folder)
    assert (table.dataset, table.kind, table.findings, len(table.frame)) == ("phantom", "phantom", FINDINGS, 70)
    assert table.masks is not None
    for index in (0, 33, 69):
        row, one = table.frame.iloc[index], draw(SMALL, index)
        np.testing.assert_array_equal(np.asarray(Image.open(folder / row["path"])), one.image)
        assert (row["patient_id"], row["view"], row["sex"], row["age"]) == (one.patient_id, one.view, one.sex, one.age)
        assert {name: bool(row[name]) for name in FINDINGS} == one.labels
        assert {name: bool(row[f"truth:{name}"]) for name in FINDINGS} == one.truth
        assert bool(row["drain"]) == one.drain
        versions = table.drain_versions(row["image_id"])
        np.testing.assert_array_equal(versions[0 if one.drain else 1], one.image)
        assert (versions[0] != versions[1]).any()
        masks = table.masks(row["image_id"])
        assert all((masks[name] == mask).all() for name, mask in one.masks.items())
        boxes = table.boxes[table.boxes["image_id"] == row["image_id"]]
        assert {box[2]: tuple(box[3:]) for box in boxes.itertuples()} == one.boxes
    with pytest.raises(DataError, match="not the image id of a phantom"):
        table.masks("00000001_000.png")


def test_several_processes_write_the_same_files(folder, tmp_path):
    write(tmp_path / "two", SMALL, workers=2, progress=False)
    assert content(tmp_path / "two") == content(folder)


def test_a_finished_folder_is_left_alone(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write(folder, SMALL, progress=False)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_killed_writer_resumes_and_keeps_complete_chunks(folder, tmp_path):
    root = tmp_path / "killed"
    code = (
        "import sys, pathlib; from cxr_kd.data.readers.phantom import PhantomSettings, write;"
        "write(pathlib.Path(sys.argv[1]), PhantomSettings.model_validate_json(sys.argv[2]), progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(root), SMALL.model_dump_json()])
    try:
        deadline = time.monotonic() + 120
        while not (root / "parts" / "000000.csv").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    first = root / "images" / "phantom-000000.png"
    if process.returncode == -signal.SIGKILL:  # else it ended before the signal
        with pytest.raises(DataError, match=r"not all phantoms are drawn.*write"):
            read(root)
    written = first.stat().st_mtime_ns
    write(root, SMALL, progress=False)
    assert first.stat().st_mtime_ns == written
    assert content(root) == content(folder)


def test_a_folder_of_other_phantoms_is_refused(folder):
    with pytest.raises(DataError, match=r"other settings: seed 5 \(wanted 6\), size 48 \(wanted 64\)") as error:
        write(folder, SMALL.model_copy(update={"size": 64, "seed": 6}), progress=False)
    assert str(folder) in str(error.value)


def test_phantoms_of_another_drawing_are_refused(folder, monkeypatch):
    monkeypatch.setattr(phantom, "DRAWING", phantom.DRAWING + 1)
    with pytest.raises(DataError, match="this version draws"):
        read(folder)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter 1")
    with pytest.raises(DataError, match="choose an empty folder"):
        write(tmp_path, SMALL, progress=False)
    assert content(tmp_path) == {"thesis.txt": b"chapter 1"}
    with pytest.raises(DataError, match="has no phantoms"):
        read(tmp_path)


def test_broken_settings_on_disk_are_named(tmp_path):
    (tmp_path / "phantoms.json").write_text('{"drawing": 1, "images": "many"}')
    with pytest.raises(DataError, match=r"phantoms\.json is not a settings file"):
        read(tmp_path)
