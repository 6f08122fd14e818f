import os
import re
import resource
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

from cxr_kd.data import parallel, read
from cxr_kd.data.cache import Cache, build_cache, open_cache
from cxr_kd.data.cache_blocks import BLOCK
from cxr_kd.data.images.decode import decode
from cxr_kd.data.loader import Batches
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError, StorageError
from cxr_kd.files import read_json, write_json
from cxr_kd.study.data_settings import DataSettings

# Many images that decode slowly but need little disk space: one 1,000 px file under many names.
SLOW_IMAGES = 6 * BLOCK
# A script as a user may write it: without `if __name__ == "__main__"`.
BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[4])))
from test_cache import slow_table
from cxr_kd.data import parallel
from cxr_kd.data.cache import build_cache
parallel.PROCESS_START_SECONDS = 0.0
build_cache(slow_table(Path(sys.argv[1])), Path(sys.argv[2]), 8, workers=int(sys.argv[3]))
"""


def slow_table(root: Path) -> CxrTable:
    names = sorted(path.name for path in root.iterdir())
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


@pytest.fixture
def endless(slow: CxrTable, tmp_path: Path) -> CxrTable:
    """Return so many images that no build finishes before it is stopped."""
    (root := tmp_path / "endless").mkdir()
    for number in range(100 * BLOCK):
        os.link(slow.root / "0000.png", root / f"{number:04d}.png")
    return slow_table(root)


def start_building(table: CxrTable, folder: Path, workers: int) -> subprocess.Popen[str]:
    script = folder.parent / "build.py"
    script.write_text(BUILD)
    command = [sys.executable, script, table.root, folder, str(workers), Path(__file__).parent]
    repository = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    return subprocess.Popen(command, cwd=repository, env=environment, stderr=subprocess.PIPE, text=True)


def last_line(builder: subprocess.Popen[str]) -> str:
    """Return the last line on stderr of a build that failed."""
    said = builder.communicate(timeout=60)[1]
    assert builder.returncode == 1, said
    return said.splitlines()[-1]


def finished_blocks(folder: Path) -> list[int]:
    """Return the first image of each finished block."""
    return sorted(int(path.stem) for path in folder.glob("blocks/0*.json"))


def processes_of(builder: subprocess.Popen[str]) -> list[int]:
    """Return the ids of the two decoding processes as soon as both run."""
    children = Path(f"/proc/{builder.pid}/task/{builder.pid}/children")
    if not children.exists():
        builder.kill()
        pytest.skip("no /proc here to look processes up in")
    found: list[int] = []

    def at_work() -> bool:
        commands = {int(child): Path(f"/proc/{child}/cmdline") for child in children.read_text().split()}
        found[:] = [child for child, command in commands.items() if "spawn_main" in command.read_text()]
        return len(found) == 2

    wait_for(at_work)
    return found


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"  # Z: ended, but not yet collected by its parent


def expected(table: CxrTable, size: int) -> np.ndarray:
    return np.stack([decode(table.root / path, size) for path in table.frame["path"]])


def assert_whole(cache: Cache, slow_root: Path) -> None:
    assert cache.quarantine.empty
    assert (cache.images == decode(slow_root / "0000.png", 8)).all()


def test_every_image_is_stored_as_decoded(noise_table: Callable[..., CxrTable], tmp_path: Path):
    table = noise_table(BLOCK + 3)
    cache = build_cache(table, tmp_path / "cache", 8, progress=False)
    np.testing.assert_array_equal(cache.images, expected(table, 8))
    assert cache.rows(["00034.png", "00002.png"]).tolist() == [34, 2]
    assert {key: cache.manifest[key] for key in ("dataset", "kind", "size", "source_count", "quarantined")} == {
        "dataset": "noise", "kind": "mini", "size": 8, "source_count": 35, "quarantined": 0,
    }  # fmt: skip
    assert cache.manifest["table_sha256"] == table.files_sha256
    left = {path.name for path in (tmp_path / "cache").iterdir()} - {".lock"}
    assert left == {"images.npy", "index.parquet", "quarantine.parquet", "checksums.json", "manifest.json"}


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


def test_a_cache_of_another_table_size_or_rule_is_refused(noise_table: Callable[..., CxrTable], tmp_path: Path):
    table = noise_table(5)
    build_cache(table, tmp_path / "cache", 8, progress=False)
    for other, size, rules, what in (
        (table, 16, {}, "size 8, not 16"),
        (table, 8, {"keep_aspect": True}, "keep_aspect False, not True"),
        (table, 8, {"intensity": "per-image"}, "intensity 'fixed', not 'per-image'"),
        (table.select(table.frame["image_id"][:4]), 8, {}, "source_count 5, not 4"),
        (replace(table, source={"fingerprint": "other settings"}), 8, {}, "table_sha256"),
    ):
        with pytest.raises(DataError, match=what):
            build_cache(other, tmp_path / "cache", size, progress=False, **rules)
    with pytest.raises(DataError, match="holds no complete cache"):
        open_cache(tmp_path)


def test_the_rules_of_the_study_reach_the_decoding(tmp_path: Path):
    wide_16_bit = np.tile(np.linspace(0, 2000, 32, dtype=np.uint16), (16, 1))
    Image.fromarray(wide_16_bit).save(tmp_path / "0000.png")
    table = slow_table(tmp_path).select(["0000.png"])
    stretched = build_cache(table, tmp_path / "stretched", 16, intensity="per-image", progress=False)
    assert stretched.images.max() > 200
    assert stretched.manifest["intensity"] == "per-image"
    padded = build_cache(table, tmp_path / "padded", 16, keep_aspect=True, progress=False)
    assert 0 < padded.images.max() < 10
    assert not padded.images[0, [0, -1]].any()


def test_pixels_returns_the_requested_rows(noise_table: Callable[..., CxrTable], tmp_path: Path):
    cache = build_cache(noise_table(20), tmp_path / "cache", 8, progress=False)
    rows = np.array([19, 0, 7, 7])
    np.testing.assert_array_equal(cache.pixels(rows), cache.images[rows])
    assert cache.pixels(rows[:0]).shape == (0, 8, 8)
    os.truncate(tmp_path / "cache" / "images.npy", cache.images.offset + 10 * 64)
    with pytest.raises(DataError, match=r"images\.npy ends before row 19"):
        cache.pixels(rows)


def test_memory_does_not_grow_with_the_cache(slow: CxrTable, tmp_path: Path):
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc here to look memory up in")

    def grown_mib() -> float:
        return (resident_bytes() - before) / 2**20

    build_cache(slow.select(["0000.png"]), tmp_path / "one", 500, progress=False)  # libraries allocate once, here
    before = resident_bytes()
    cache = build_cache(slow, tmp_path / "cache", 500, progress=False)  # 46 MiB
    assert grown_mib() < 15
    for first in range(0, SLOW_IMAGES, BLOCK):
        cache.pixels(np.arange(first, first + BLOCK))
    assert grown_mib() < 15
    cache.images.sum()  # if all pages are touched, the measure shows it
    assert grown_mib() > 40


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_missing_room_on_the_disk_is_reported_before_anything_is_decoded(
    noise_table: Callable[..., CxrTable], tmp_path: Path
):
    with pytest.raises(DataError, match=r"the cache needs .* GB more and .* GB are free"):
        build_cache(noise_table(100), tmp_path / "cache", 2_000_000, progress=False)
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {".lock"}


def test_room_is_needed_only_for_blocks_that_are_not_finished(
    noise_table: Callable[..., CxrTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    table, folder = noise_table(3 * BLOCK), tmp_path / "cache"

    def stop(bar: object, images: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("cxr_kd.data.cache.tqdm.update", stop)
        with pytest.raises(KeyboardInterrupt):
            build_cache(table, folder, 8, progress=False)
    assert finished_blocks(folder) == [0]
    room = type(shutil.disk_usage(folder))
    for free in (2 * BLOCK * 64 - 1, 2 * BLOCK * 64):  # stands for a disk with this room
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: room(10**9, 10**9 - free, free))
        if free < 2 * BLOCK * 64:
            with pytest.raises(DataError, match="make room, then"):
                build_cache(table, folder, 8, progress=False)
    np.testing.assert_array_equal(build_cache(table, folder, 8, progress=False).images, expected(table, 8))


def test_processes_give_the_same_cache(
    noise_table: Callable[..., CxrTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parallel, "PROCESS_START_SECONDS", 0.0)
    table = noise_table(3 * BLOCK)
    (table.root / table.frame["path"].iloc[-1]).write_bytes(b"")
    cache = build_cache(table, tmp_path / "cache", 8, workers=2, progress=False)
    np.testing.assert_array_equal(cache.images[:-1], expected(table.select(table.frame["image_id"][:-1]), 8))
    assert cache.quarantine["reason"].tolist() == ["the file is empty (0 bytes)"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up_stops_the_build_and_it_continues_later(slow: CxrTable, tmp_path: Path, workers: int):
    folder = tmp_path / "cache"
    builder = start_building(slow, folder, workers)
    wait_for(lambda: finished_blocks(folder))
    # from now on nothing can be written after the first two blocks, as on a full disk (EFBIG stands for ENOSPC)
    most = 2 * BLOCK * 8**2
    for process in [builder.pid] if workers == 1 else processes_of(builder):
        resource.prlimit(process, resource.RLIMIT_FSIZE, (most, most))
    assert re.fullmatch(r".*StorageError: cannot write to .*cache \(File too large\).*is kept", last_line(builder))
    assert not (folder / "manifest.json").exists()
    assert not list(folder.glob("blocks/.*"))  # nothing half-written
    done = finished_blocks(folder)
    assert 0 < len(done) < SLOW_IMAGES / BLOCK
    assert_whole(build_cache(slow, folder, 8, progress=False), slow.root)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_storage_fault_stops_the_build_and_it_continues_when_the_fault_is_repaired(
    noise_table: Callable[..., CxrTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
):
    broken = Path("/proc/self/mem")
    if not broken.exists():
        pytest.skip("no /proc here with a file that can't be read")
    monkeypatch.setattr(parallel, "PROCESS_START_SECONDS", 0.0)
    table, folder = noise_table(3 * BLOCK), tmp_path / "cache"
    path = table.root / table.frame["path"].iloc[-1]
    whole = path.read_bytes()
    path.unlink()
    path.symlink_to(broken)
    with pytest.raises(StorageError, match=rf"{path}: cannot be read \(.*Input/output error\)\. Repair this and run"):
        build_cache(table, folder, 8, workers=workers, progress=False)
    assert 0 in finished_blocks(folder)
    assert 2 * BLOCK not in finished_blocks(folder)
    path.unlink()
    path.write_bytes(whole)
    cache = build_cache(table, folder, 8, workers=workers, progress=False)
    assert cache.quarantine.empty
    np.testing.assert_array_equal(cache.images, expected(table, 8))


def test_a_killed_build_continues_and_decodes_nothing_twice(slow: CxrTable, tmp_path: Path):
    folder, root = tmp_path / "cache", tmp_path / "source"
    shutil.copytree(slow.root, root, copy_function=os.link)
    table = slow_table(root)
    builder = start_building(table, folder, workers=1)
    wait_for(lambda: finished_blocks(folder))
    builder.kill()
    builder.communicate()
    done = finished_blocks(folder)
    assert 0 < len(done) < SLOW_IMAGES / BLOCK
    for first in done:  # finished blocks do not need their source any more
        for path in table.frame["path"][first : first + BLOCK]:
            (root / path).unlink()  # a link
            (root / path).write_bytes(bytes((slow.root / path).stat().st_size))
            shutil.copystat(slow.root / path, root / path)
    assert_whole(build_cache(table, folder, 8, progress=False), slow.root)


def test_a_block_that_a_power_cut_damaged_is_decoded_again(slow: CxrTable, tmp_path: Path):
    folder = tmp_path / "cache"
    builder = start_building(slow, folder, workers=1)
    wait_for(lambda: len(finished_blocks(folder)) >= 2)
    builder.kill()
    builder.communicate()
    with (folder / "images.npy").open("r+b") as file:
        file.seek(np.load(folder / "images.npy", mmap_mode="r").offset)
        file.write(bytes(100))
    (folder / "blocks" / f"{BLOCK:09d}.json").write_text("")
    assert_whole(build_cache(slow, folder, 8, progress=False), slow.root)


def test_a_killed_builder_leaves_no_process_behind(endless: CxrTable, tmp_path: Path):
    builder = start_building(endless, tmp_path / "cache", workers=2)
    workers = processes_of(builder)
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()
    wait_for(lambda: not any(is_alive(worker) for worker in workers))


def test_a_process_that_dies_stops_the_build_and_it_continues_later(slow: CxrTable, tmp_path: Path):
    folder = tmp_path / "cache"
    builder = start_building(slow, folder, workers=2)
    os.kill(processes_of(builder)[0], signal.SIGKILL)
    assert re.fullmatch(r".*DataError: a process died \(killed, .*where it stopped", last_line(builder))
    assert not (folder / "manifest.json").exists()
    assert_whole(build_cache(slow, folder, 8, progress=False), slow.root)


def test_ctrl_c_ends_the_processes_without_messages_of_their_own(endless: CxrTable, tmp_path: Path):
    builder = start_building(endless, tmp_path / "cache", workers=2)
    workers = processes_of(builder)
    wait_for(lambda: all(ignores_ctrl_c(worker) for worker in workers))  # both have started
    for process in (*workers, builder.pid):
        os.kill(process, signal.SIGINT)
    said = builder.communicate(timeout=60)[1]
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert not any(is_alive(worker) for worker in workers)


def ignores_ctrl_c(process: int) -> bool:
    ignored = re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
    return ignored is not None and bool(int(ignored[1], 16) & 1 << (signal.SIGINT - 1))


def test_progress_shows_images_per_second_and_the_time_left(slow: CxrTable, tmp_path: Path):
    builder = start_building(slow, tmp_path / "cache", workers=2)  # a script without a main guard
    said = builder.communicate(timeout=60)[1]
    assert builder.returncode == 0, said
    *_, under_way, last = said.splitlines()
    assert re.search(r"decoding slow at 8 px: +\d+%.* \d+/192 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ images/s", under_way)
    assert re.search(r"100%.* 192/192 \[.* images/s", last)
    assert "waiting" not in said


def test_two_builders_at_once_make_one_cache(slow: CxrTable, tmp_path: Path):
    builders = [start_building(slow, tmp_path / "cache", workers=1) for _ in range(2)]
    said = [builder.communicate(timeout=120)[1] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert sum("another process is building" in words for words in said) <= 1
    assert sum("192/192" in words for words in said) == 1  # one built the cache, the other opened it
    assert_whole(open_cache(tmp_path / "cache"), slow.root)


def test_real_radiographs(test_data: Path, tmp_path: Path):
    table = read(DataSettings(dataset="chestxray14"), test_data / "chestxray14-mini")
    cache = build_cache(table, tmp_path / "cache", 64, progress=False)
    assert cache.images.shape == (1000, 64, 64)
    assert cache.quarantine.empty
    np.testing.assert_array_equal(cache.images[::100], expected(table.select(table.frame["image_id"][::100]), 64))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("images.npy", None),
        ("images.npy", b"\x93NUMPY"),
        ("index.parquet", b"PAR1"),
        ("checksums.json", None),
        ("checksums.json", b"{}"),
        ("manifest.json", b"[1]"),
    ],
)
def test_a_damaged_cache_says_what_to_do(
    noise_table: Callable[..., CxrTable], tmp_path: Path, name: str, content: bytes | None
):
    table, folder = noise_table(5), tmp_path / "cache"
    build_cache(table, folder, 8, progress=False)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=r"delete the folder .*and build .*again"):
        build_cache(table, folder, 8, progress=False)


def test_training_batches_refuse_pixels_that_changed_after_the_build(
    noise_table: Callable[..., CxrTable], tmp_path: Path
):
    table, folder = noise_table(3 * BLOCK), tmp_path / "cache"
    row = BLOCK + 5
    flip_bytes(folder / "images.npy", build_cache(table, folder, 8, progress=False).images.offset + row * 64)
    ids = table.frame["image_id"].tolist()
    changed = rf"images 32 to 63 are not those that were decoded.* Delete the folder {folder} and run"
    with pytest.raises(DataError, match=changed):
        list(Batches(open_cache(folder), table, ids, batch_size=16, shuffle=True).epoch(0))
    others = ids[:BLOCK] + ids[2 * BLOCK :]
    assert len(list(Batches(open_cache(folder), table, others, batch_size=16).epoch(0))) == 4
    shutil.rmtree(folder)
    np.testing.assert_array_equal(build_cache(table, folder, 8, progress=False).images, expected(table, 8))


@pytest.mark.parametrize("name", ["index.parquet", "quarantine.parquet", "checksums.json"])
def test_tables_that_changed_after_the_build_are_refused(
    noise_table: Callable[..., CxrTable], tmp_path: Path, name: str
):
    folder = tmp_path / "cache"
    cache = build_cache(noise_table(5), folder, 8, progress=False)
    if name == "checksums.json":
        record = read_json(folder / name)
        write_json(folder / name, {**record, "blocks": ["0" * 64]})
    else:
        shown = cache.index if name == "index.parquet" else cache.quarantine
        shown.iloc[::-1].reset_index(drop=True).to_parquet(folder / name, compression=None)
    with pytest.raises(DataError, match=rf"{name} changed after the cache was built\); delete the folder"):
        open_cache(folder)


def test_each_block_is_compared_with_its_checksum_once(noise_table: Callable[..., CxrTable], tmp_path: Path):
    cache = build_cache(noise_table(BLOCK), tmp_path / "cache", 8, progress=False)
    rows = np.arange(4)
    before = cache.pixels(rows)
    flip_bytes(tmp_path / "cache" / "images.npy", cache.images.offset + 64 * 20)
    np.testing.assert_array_equal(cache.pixels(rows), before)


def flip_bytes(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 255
    file.write_bytes(content)
