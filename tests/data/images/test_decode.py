import errno
import io
import struct
import zlib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cxr_kd.data.images.decode import INTENSITY_RULES, MOST_PIXELS, decode
from cxr_kd.errors import DataError, StorageError
from cxr_kd.study.data_settings import Intensity

GREY = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)


def png(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header_only(width: int, height: int, depth: int, colour: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


def repeated_mean(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return the area mean by brute force: repeat each pixel `size` times on both axes, then average equal parts."""
    height, width = pixels.shape
    fine = np.repeat(np.repeat(pixels.astype(np.uint32), size, 0), size, 1)
    return fine.reshape(size, height, size, width).mean((1, 3))


@given(height=st.integers(12, 70), width=st.integers(12, 70), size=st.integers(2, 12), seed=st.integers(0, 99))
def test_reduction_is_the_mean_of_each_area(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, size: int, seed: int
):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    path = tmp_path_factory.mktemp("area") / "a.png"
    Image.fromarray(noise).save(path)
    assert np.abs(decode(path, size) - repeated_mean(noise, size)).max() <= 0.501  # one rounding


@pytest.mark.parametrize(("side", "size"), [(1024, 224), (1024, 256), (521, 64), (300, 299)])
def test_large_reductions_of_noise_are_exact_too(tmp_path: Path, side: int, size: int):
    noise = np.random.default_rng(side).integers(0, 256, (side, 40), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(np.tile(noise, (1, 20))).save(path)
    edges = np.linspace(0, side, size + 1)
    integral = np.vstack([np.zeros(800), np.tile(noise, (1, 20)).cumsum(0)])  # its differences are sums of rows
    rows = np.stack([np.interp(edges, np.arange(side + 1), column) for column in integral.T], 1)
    across = np.interp(np.linspace(0, 800, size + 1), np.arange(801), np.arange(801))
    sums = np.stack([np.interp(across, np.arange(801), np.r_[0, row.cumsum()]) for row in np.diff(rows, axis=0)])
    means = np.diff(sums, axis=1) / (side / size * 800 / size)
    assert np.abs(decode(path, size) - means).max() <= 0.51


def test_an_image_that_has_the_size_already_is_unchanged(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    np.testing.assert_array_equal(decode(path, 64), GREY)


def test_each_side_is_fitted_or_the_shape_is_kept_on_black(tmp_path: Path):
    path = tmp_path / "wide.png"
    wide = np.full((40, 80), 200, np.uint8)
    wide[:, 40:] = 100
    Image.fromarray(wide).save(path)
    fitted = decode(path, 20)
    assert (fitted[:, :10] == 200).all()
    assert (fitted[:, 10:] == 100).all()
    kept = decode(path, 20, keep_aspect=True)
    np.testing.assert_array_equal(kept[5:15], fitted[:10])
    assert not kept[:5].any()
    assert not kept[15:].any()
    assert (decode(path, 160, keep_aspect=True) > 0).mean() == 0.5  # enlarged, still 2:1
    assert decode(path, 60).shape == (60, 60)  # one side enlarged, the other reduced


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colour_palette_and_alpha_become_luminance(tmp_path: Path, mode: str):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).convert("RGB" if mode != "LA" else "L").convert(mode).save(path)
    expected = np.array(Image.open(path).convert("RGB").convert("L"))
    np.testing.assert_array_equal(decode(path, 64), expected)


def test_luminance_weights_are_those_of_the_standard(tmp_path: Path):
    path = tmp_path / "red.png"
    Image.fromarray(np.array([[[200, 0, 0], [0, 200, 0], [0, 0, 200]]] * 3, np.uint8)).save(path)
    assert decode(path, 3)[0].tolist() == [round(0.299 * 200), round(0.587 * 200), round(0.114 * 200)]


def test_jpeg_under_any_name(tmp_path: Path):
    path = tmp_path / "a.png"
    ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    path.write_bytes(png(Image.fromarray(ramp), "JPEG"))
    assert np.abs(decode(path, 32).astype(int) - ramp).max() <= 4


def test_sixteen_bit_grey_by_the_fixed_rule_or_by_its_own_range(tmp_path: Path):
    path = tmp_path / "a.png"
    values = np.array([[0, 128, 129, 257], [3000, 10000, 32896, 40000]], np.uint16).repeat(2, 0)  # 65535 = 255 * 257
    Image.fromarray(values).save(path)
    assert decode(path, 4)[::2].tolist() == [[0, 0, 1, 1], [12, 39, 128, 156]]
    assert decode(path, 4, intensity="per-image")[::2].tolist() == [[0, 1, 1, 2], [19, 64, 210, 255]]


def test_eight_bit_greys_are_unchanged_under_both_rules(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.fromarray(GREY // 2).save(path)
    np.testing.assert_array_equal(decode(path, 64, intensity="per-image"), GREY // 2)
    assert set(INTENSITY_RULES) == set(get_args(Intensity))


def test_one_image_of_an_archive(tmp_path: Path):
    images = np.random.default_rng(1).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", train_images=images)
    np.testing.assert_array_equal(decode(tmp_path / "a.npz#train_images/2", 28), images[2])
    with pytest.raises(DataError, match=r"^[^#]*a\.npz#train_images/3: .*holds 3 images"):
        decode(tmp_path / "a.npz#train_images/3", 28)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "not a PNG, JPEG or DICOM file"),
        (b"\x89PNG\r\n\x1a\n", "not a complete PNG file"),
        (png(Image.fromarray(GREY))[:2000], "not a complete PNG file"),
        (png(Image.fromarray(GREY), "JPEG")[:1000], "not a complete JPEG file"),
        (png(Image.fromarray(GREY), "BMP"), "not a PNG, JPEG or DICOM file"),
        (png(Image.fromarray(GREY.astype(np.uint16) * 256))[:2000], "not a complete PNG file"),
        (header_only(8, 8, 16, 2), "16-bit PNG in colour"),
        (png(Image.fromarray(GREY > 99)), "1-bit"),
        (png(Image.new("CMYK", (8, 8)), "JPEG"), "mode 'CMYK'"),
        (header_only(MOST_PIXELS // 100, 101, 8, 0), "pixels: not a radiograph"),
        (header_only(100_000, 100_000, 8, 0), "pixels: not a radiograph"),
        (png(Image.new("L", (8, 8), 7)), r"every pixel has the same grey \(7\)"),
        (png(Image.fromarray(np.full((8, 8), 40_000, np.uint16))), "every pixel has the same grey"),
    ],
    ids=[
        "empty", "text", "signature alone", "cut PNG", "cut JPEG", "BMP", "cut 16-bit", "16-bit colour", "1-bit",
        "CMYK", "large", "bomb", "constant", "constant 16-bit",
    ],
)  # fmt: skip
def test_anything_else_is_an_error_with_file_and_reason(tmp_path: Path, content: bytes, reason: str):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.png: .*{reason}"):
        decode(path, 16)


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        decode(tmp_path / "absent.png", 16)
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "round", tmp_path / "file" / "a.png", tmp_path / ("a" * 300)):
        with pytest.raises(DataError, match=r"cannot be read|a folder, not a file") as raised:
            decode(path, 16)
        assert not isinstance(raised.value, StorageError)


def test_a_file_that_cannot_be_read_now_is_a_storage_error():
    path = Path("/proc/self/mem")
    if not path.exists():
        pytest.skip("there is no /proc with an unreadable file")
    with pytest.raises(StorageError, match=r"^/proc/self/mem: cannot be read \(\[Errno 5\] Input/output error\)$"):
        decode(path, 16)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "16-bit"])
def test_a_disk_that_fails_within_a_file_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str):
    path = tmp_path / "a.png"
    large = np.random.default_rng(0).integers(0, 256, (600, 600)).astype(np.uint16 if form == "16-bit" else np.uint8)
    content = png(Image.fromarray(large), form.replace("16-bit", "PNG"))

    class Failing(io.BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            if self.tell() > 1000:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(count)

    monkeypatch.setattr(Path, "open", lambda *_: Failing(content))
    with pytest.raises(StorageError, match=r"a\.png: cannot be read \(\[Errno 5\]"):
        decode(path, 16)


@given(st.sampled_from(["PNG", "JPEG", "16-bit"]), st.integers(0, 3000), st.binary(max_size=20), st.booleans())
def test_damaged_content_is_an_image_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, form: str, at: int, junk: bytes, cut: bool
):
    content = png(
        Image.fromarray(GREY.astype(np.uint16) * 99 if form == "16-bit" else GREY), form.replace("16-bit", "PNG")
    )
    path = tmp_path_factory.mktemp("fuzz") / "a.png"
    path.write_bytes(content[:at] + junk + (b"" if cut else content[at + len(junk) :]))
    try:
        image = decode(path, 64)
    except DataError:
        return
    assert image.shape == (64, 64)
    assert image.dtype == np.uint8
    if form != "JPEG":  # which has no checksums
        path.write_bytes(content)
        np.testing.assert_array_equal(image, decode(path, 64))


def test_real_radiographs(test_data: Path):
    paths = sorted((test_data / "chestxray14-boxed224" / "images").iterdir())
    images = [decode(path, 224) for path in paths]
    assert len(images) == 39
    assert all(60 < image.mean() < 200 and image.std() > 20 for image in images)
