import multiprocessing
import tracemalloc
import zipfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_kd.data.images import archive
from cxr_kd.errors import DataError

SAVE = {"stored": np.savez, "deflated": np.savez_compressed}


def write(path: Path, how: str = "deflated", **arrays: np.ndarray) -> str:
    SAVE[how](path, **arrays)
    return str(path)


def noise(count: int = 30, height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width), dtype=np.uint8)


def paths(file: str, array: str, positions) -> list[str]:
    return [f"{file}#{array}/{position}" for position in positions]


@pytest.mark.parametrize("how", SAVE)
@pytest.mark.parametrize("order", ["ascending", "descending", "random", "other array between"])
def test_every_image_in_any_order(tmp_path: Path, how: str, order: str):
    images, others = noise(), noise(7, 4, 4)
    file = write(tmp_path / "a.npz", how, train_images=images, others=others)
    positions = np.arange(len(images))
    if order == "descending":
        positions = positions[::-1]
    if order == "random":
        positions = np.random.default_rng(0).permutation(positions)
    for position in positions:
        if order == "other array between":
            assert np.array_equal(archive.image(f"{file}#others/3"), others[3])
        found = archive.image(f"{file}#train_images/{position}")
        assert np.array_equal(found, images[position])
        found[:] = 0  # a copy: the next call must return the file's pixels
    assert np.array_equal(archive.image(f"{file}#train_images/2"), images[2])


def test_ascending_positions_decompress_an_array_once_after_its_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = noise()
    file, read = write(tmp_path / "a.npz", images=images), []
    original = zipfile.ZipExtFile.read

    def counted(member: zipfile.ZipExtFile, size: int = -1) -> bytes:
        content = original(member, size)
        read.append(len(content))
        return content

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    for path in paths(file, "images", range(30)):
        archive.image(path)
    assert 2 * images.nbytes <= sum(read) < 2.1 * images.nbytes


def test_memory_does_not_grow_with_the_array(tmp_path: Path):
    file = write(tmp_path / "a.npz", images=np.zeros((8000, 128, 128), np.uint8))  # 131 MB
    tracemalloc.start()
    try:
        archive.image(f"{file}#images/7999")
        for position in range(0, 8000, 40):
            archive.image(f"{file}#images/{position}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * 16 * 2**20  # zipfile skips in pieces of 16 MiB, and briefly has two


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path):
    file = write(tmp_path / "a.npz", images=noise(5))
    archive.image(f"{file}#images/4")
    write(tmp_path / "a.npz", images=noise(6))
    assert np.array_equal(archive.image(f"{file}#images/4"), noise(6)[4])


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_processes_read_at_the_same_time(tmp_path: Path, start: str):
    images = noise(200, 16, 16)
    file = write(tmp_path / "a.npz", images=images)
    archive.image(f"{file}#images/0")  # a stream that a forked process must not move
    with ProcessPoolExecutor(2, multiprocessing.get_context(start)) as pool:
        found = list(pool.map(archive.image, paths(file, "images", range(200)), chunksize=20))
    assert np.array_equal(found, images)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("missing.npz#images/0", "no such file"),
        ("a.npz#pictures/0", r"no array 'pictures'; it holds: images, floats, flat, fortran"),
        ("a.npz#images/30", r"array 'images' holds 30 images, the last at 29"),
        ("a.npz#images/99999999999999999999", r"holds 30 images"),
        ("a.npz#floats/0", r"array 'floats' is float32 \(2, 3, 4\), not uint8 \(N, height, width\)"),
        ("a.npz#flat/0", r"array 'flat' is uint8 \(3, 4\)"),
        ("a.npz#fortran/0", r"array 'fortran' is uint8 \(2, 3, 4\).*C order"),
        ("a.npz", "not the path of an image of an archive"),
        ("text.npz#images/0", "not a complete .npz archive"),
        ("empty.npz#images/0", "not a complete .npz archive"),
        ("folder.npz#images/0", "a folder, not a file"),
        ("short.npz#images/0", r"array 'images' has 148 bytes; its header says 24,000,128"),
    ],
)
def test_what_is_refused(tmp_path: Path, place: str, why: str):
    floats = np.zeros((2, 3, 4), np.float32)
    write(
        tmp_path / "a.npz",
        images=noise(),
        floats=floats,
        flat=floats[0].astype(np.uint8),
        fortran=np.asfortranarray(floats.astype(np.uint8)),
    )
    (tmp_path / "text.npz").write_text("path,label\n")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "folder.npz").mkdir()
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as short, short.open("images.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|u1", "fortran_order": False, "shape": (1000, 120, 200)}
        )
        member.write(bytes(20))
    with pytest.raises(DataError, match=why) as caught:
        archive.image(f"{tmp_path}/{place}")
    assert str(caught.value).startswith(f"{tmp_path}/{place}: ")


@pytest.mark.parametrize("how", SAVE)
def test_no_image_of_a_damaged_array_is_returned_and_it_is_checked_once(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.npz"
    write(path, how, whole=noise(4), images=noise())
    content = bytearray(path.read_bytes())
    content[-len(content) // 2] ^= 1  # in `images`: it decompresses to other pixels without an error
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"array 'images' is damaged \(BadZipFile: Bad CRC-32.*fetch the file again"):
        archive.image(f"{path}#images/0")
    monkeypatch.delattr(zipfile.ZipExtFile, "read")  # nothing is decompressed again
    for position in range(1, 30):
        with pytest.raises(DataError, match="array 'images' is damaged"):
            archive.image(f"{path}#images/{position}")
    monkeypatch.undo()
    assert np.array_equal(archive.image(f"{path}#whole/3"), noise(4)[3])
    with pytest.raises(DataError, match="Bad CRC-32"):
        archive.array(path, "images")


def test_data_that_end_early_are_damaged(tmp_path: Path):
    path = tmp_path / "a.npz"
    write(path, images=noise())
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 20 : directory + 24] = (5000).to_bytes(4, "little")  # its compressed size
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"array 'images' is damaged"):
        archive.image(f"{path}#images/29")


def test_whole_arrays_headers_and_checksums(tmp_path: Path):
    labels = np.eye(3, dtype=np.int64)
    path = tmp_path / "a.npz"
    write(path, labels=labels, objects=np.array([{}, None]))
    assert np.array_equal(archive.array(path, "labels"), labels)
    assert archive.header(path, "labels") == ((3, 3), False, np.dtype(np.int64))
    before = archive.checksums(path)
    write(path, labels=labels * 2, objects=np.array([{}, None]))
    after = archive.checksums(path)
    assert (set(before), before["labels"] == after["labels"]) == ({"labels", "objects"}, False)
    with pytest.raises(DataError, match="objects"):  # no pickle is ever loaded
        archive.array(path, "objects")


@settings(max_examples=150)
@given(data=st.data())
def test_any_damage_is_an_image_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    path = tmp_path_factory.mktemp("fuzz") / "a.npz"
    write(path, data.draw(st.sampled_from(sorted(SAVE))), images=noise(3, 4, 5))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content))) if data.draw(st.booleans()) else None])
    for call in (lambda: archive.image(f"{path}#images/2"), lambda: archive.array(path, "images"),
                 lambda: archive.checksums(path)):  # fmt: skip
        with suppress(DataError):
            call()
