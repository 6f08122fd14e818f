import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_kd.data import blocks, read
from cxr_kd.data.blocks import Block
from cxr_kd.data.cache import BLOCK, build_cache, open_cache
from cxr_kd.data.decode import decode
from cxr_kd.data.table import CxrTable, DataError

# A data set of many slow images without the disk space: one 1,000 px file under many names.
SLOW_IMAGES = 5 * BLOCK
BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[4])))
from test_cache import slow_table
from cxr_kd.data import blocks
from cxr_kd.data.cache import build_cache
blocks.PROCESS_START_SECONDS = 0.0
if __name__ == "__main__":
    build_cache(slow_table(Path(sys.argv[1])), Path(sys.argv[2]), 8, workers=int(sys.argv[3]), progress=False)
"""


def slow_table(root: Path) -> CxrTable:
    names = [f"{number:04d}.png" for number in range(SLOW_IMAGES)]
    frame = pd.DataFrame({"image_id": names, "path": names, "patient_id": names, "view": "PA", "sex": "M"})
    return CxrTable("slow", "mini", root, frame.assign(age=np.nan, Mass=0.0), ("Mass",))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> CxrTable:
    root = tmp_path_factory.mktemp("slow")
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1000), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "0000.png", compress_level=1)
    for number in range(1, SLOW_IMAGES):
        os.link(root / "0000.png", root / f"{number:04d}.png")
    return slow_table(root)


def start_building(table: CxrTable, folder: Path, workers: int) -> subprocess.Popen[bytes]:
    script = folder.parent / "build.py"
    script.write_text(BUILD)
    command = [sys.executable, script, table.root, folder, str(workers), Path(__file__).parent]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": os.getcwd()})


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_alive(process: str) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"  # ended, and only not yet collected by the container's first process


def expected(table: CxrTable, size: int) -> np.ndarray:
    return np.stack([decode(table.root / path, size) for path in table.frame["path"]])


def test_every_image_is_there_as_decoded(noise_table: Callable[..., CxrTable], tmp_path: Path):
    table = noise_table(BLOCK + 3)
    cache = build_cache(table, tmp_path / "cache", 8, progress=False)
    np.testing.assert_array_equal(cache.images, expected(table, 8))
    assert cache.rows(["00130.png", "00002.png"]).tolist() == [130, 2]
    assert {key: cache.manifest[key] for key in ("dataset", "kind", "size", "source_count", "quarantined")} == {
        "dataset": "noise", "kind": "mini", "size": 8, "source_count": 131, "quarantined": 0,
    }  # fmt: skip
    assert cache.manifest["table_sha256"] == table.files_sha256
    left = {path.name for path in (tmp_path / "cache").iterdir()} - {".lock"}
    assert left == {"images.npy", "index.parquet", "quarantine.parquet", "manifest.json"}


def test_a_complete_cache_opens_without_its_source(noise_table: Callable[..., CxrTable], tmp_path: Path):
    table = noise_table(5)
    first = build_cache(table, tmp_path / "cache", 8, progress=False)
    shutil.rmtree(table.root)
    again = build_cache(table, tmp_path / "cache", 8, progress=False)
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_array_equal(open_cache(tmp_path / "cache").images, first.images)


def test_an_image_that_cannot_be_read_is_quarantined_with_its_reason(
    noise_table: Callable[..., CxrTable], tmp_path: Path
):
    table = noise_table(6)
    (table.root / "images" / "00001.png").write_bytes(b"")
    (table.root / "images" / "00004.png").unlink()
    cache = build_cache(table, tmp_path / "cache", 8, progress=False)
    assert cache.quarantine.to_numpy().tolist() == [
        ["00001.png", "images/00001.png", "the file is empty (0 bytes)"],
        ["00004.png", "images/00004.png", "no such file"],
    ]
    ids = table.frame["image_id"].tolist()
    assert cache.index["image_id"].tolist() == cache.readable(ids) == [*ids[:1], *ids[2:4], ids[5]]
    assert cache.manifest["quarantined"] == 2
    np.testing.assert_array_equal(
        cache.images[cache.rows(["00005.png"])[0]], expected(table.select(["00005.png"]), 8)[0]
    )
    with pytest.raises(DataError, match=r"no pixels of 2 images, e\.g\. 00001\.png, nobody; 1 are in quarantine"):
        cache.rows(["00000.png", "00001.png", "nobody"])


def test_the_cache_of_anything_else_is_not_taken(noise_table: Callable[..., CxrTable], tmp_path: Path):
    table = noise_table(5)
    build_cache(table, tmp_path / "cache", 8, progress=False)
    for other, size, keep_aspect, what in (
        (table, 16, False, "size 8, not 16"),
        (table, 8, True, "keep_aspect False, not True"),
        (table.select(table.frame["image_id"][:4]), 8, False, "source_count 5, not 4"),
        (replace(table, source={"fingerprint": "other settings"}), 8, False, "table_sha256"),
    ):
        with pytest.raises(DataError, match=what):
            build_cache(other, tmp_path / "cache", size, keep_aspect=keep_aspect, progress=False)
    with pytest.raises(DataError, match="holds no complete cache"):
        open_cache(tmp_path)


def test_no_room_on_the_disk_is_said_before_anything_is_decoded(noise_table: Callable[..., CxrTable], tmp_path: Path):
    with pytest.raises(DataError, match=r"the cache needs .* GB, .* GB are free"):
        build_cache(noise_table(100), tmp_path / "cache", 2_000_000, progress=False)


def test_processes_give_the_same_cache(
    noise_table: Callable[..., CxrTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(blocks, "PROCESS_START_SECONDS", 0.0)
    table = noise_table(3 * BLOCK)
    (table.root / table.frame["path"].iloc[-1]).write_bytes(b"")
    cache = build_cache(table, tmp_path / "cache", 8, workers=2, progress=False)
    np.testing.assert_array_equal(cache.images[:-1], expected(table.select(table.frame["image_id"][:-1]), 8))
    assert cache.quarantine["reason"].tolist() == ["the file is empty (0 bytes)"]


def test_a_disk_that_fills_up_stops_it_and_it_goes_on_later(
    noise_table: Callable[..., CxrTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(block: Block, images: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    table = noise_table(5)
    with monkeypatch.context() as patched:
        patched.setattr(Block, "_write", full)
        with pytest.raises(DataError, match=r"No space left on device.*it goes on"):
            build_cache(table, tmp_path / "cache", 8, progress=False)
    cache = build_cache(table, tmp_path / "cache", 8, progress=False)
    np.testing.assert_array_equal(cache.images, expected(table, 8))


def test_a_killed_build_goes_on_and_decodes_nothing_twice(slow: CxrTable, tmp_path: Path):
    folder, root = tmp_path / "cache", tmp_path / "source"
    shutil.copytree(slow.root, root, copy_function=os.link)
    table = slow_table(root)
    builder = start_building(table, folder, workers=1)
    wait_for(lambda: list(folder.glob("blocks/0*.json")))
    builder.kill()
    builder.wait()
    done = [int(path.stem) for path in folder.glob("blocks/0*.json")]
    assert 0 < len(done) < SLOW_IMAGES / BLOCK
    for first in done:  # what is done needs no source any more
        for path in table.frame["path"][first : first + BLOCK]:
            (root / path).unlink()  # a link
            (root / path).write_bytes(bytes((slow.root / path).stat().st_size))
    cache = build_cache(table, folder, 8, progress=False)
    assert cache.quarantine.empty
    assert (cache.images == decode(slow.root / "0000.png", 8)).all()


def test_a_killed_builder_leaves_no_process_behind(slow: CxrTable, tmp_path: Path):
    builder = start_building(slow, tmp_path / "cache", workers=2)
    children = Path(f"/proc/{builder.pid}/task/{builder.pid}/children")
    if not children.exists():
        builder.kill()
        pytest.skip("no /proc here to look processes up in")
    workers: list[str] = []

    def at_work() -> bool:
        workers[:] = children.read_text().split()
        return len(workers) >= 3  # two, and the resource tracker of multiprocessing

    wait_for(at_work)
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()
    wait_for(lambda: not any(is_alive(worker) for worker in workers))


def test_two_builders_at_once_make_one_cache(slow: CxrTable, tmp_path: Path):
    builders = [start_building(slow, tmp_path / "cache", workers=1) for _ in range(2)]
    assert [builder.wait(timeout=120) for builder in builders] == [0, 0]
    assert (open_cache(tmp_path / "cache").images == decode(slow.root / "0000.png", 8)).all()


def test_real_radiographs(test_data: Path, tmp_path: Path):
    table = read("chestxray14", test_data / "chestxray14-mini")
    cache = build_cache(table, tmp_path / "cache", 64, progress=False)
    assert cache.images.shape == (1000, 64, 64)
    assert cache.quarantine.empty
    np.testing.assert_array_equal(cache.images[::100], expected(table.select(table.frame["image_id"][::100]), 64))
