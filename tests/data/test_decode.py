import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cxr_kd.data.decode import MOST_PIXELS, decode
from cxr_kd.data.table import DataError

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


def test_reduction_is_the_mean_of_each_area(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    means = GREY.reshape(16, 4, 16, 4).mean((1, 3))
    assert np.abs(decode(path, 16).astype(float) - means).max() <= 1  # each axis rounds once
    np.testing.assert_array_equal(decode(path, 64), GREY)


def test_each_side_is_fitted_or_the_shape_is_kept_between_black(tmp_path: Path):
    path = tmp_path / "wide.png"
    Image.new("L", (80, 40), 200).save(path)
    assert (decode(path, 20) == 200).all()
    kept = decode(path, 20, keep_aspect=True)
    assert kept.shape == (20, 20)
    assert (kept[5:15] == 200).all()
    assert not kept[:5].any()
    assert not kept[15:].any()
    assert (decode(path, 160, keep_aspect=True) == 200).mean() == 0.5  # enlarged, still 2:1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colour_palette_and_alpha_become_luminance(tmp_path: Path, mode: str):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).convert("RGB" if mode != "LA" else "L").convert(mode).save(path)
    expected = np.array(Image.open(path).convert("RGB").convert("L"))
    np.testing.assert_array_equal(decode(path, 64), expected)


def test_luminance_weights_are_those_of_the_standard(tmp_path: Path):
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), (200, 0, 0)).save(path)
    assert (decode(path, 8) == round(0.299 * 200)).all()


def test_jpeg_under_any_name(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(png(Image.new("L", (32, 32), 90), "JPEG"))
    assert np.abs(decode(path, 32).astype(int) - 90).max() <= 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "not a complete PNG or JPEG"),
        (png(Image.fromarray(GREY))[:2000], "not a complete PNG or JPEG"),
        (png(Image.fromarray(GREY), "JPEG")[:1000], "not a complete PNG or JPEG"),
        (png(Image.fromarray(GREY), "BMP"), "not a complete PNG or JPEG"),
        (png(Image.fromarray(GREY.astype(np.uint16) * 256)), "16-bit"),
        (header_only(8, 8, 16, 2), "16-bit"),
        (png(Image.fromarray(GREY > 99)), "mode '1'"),
        (png(Image.new("CMYK", (8, 8)), "JPEG"), "mode 'CMYK'"),
        (header_only(MOST_PIXELS // 100, 101, 8, 0), "pixels: not a radiograph"),
        (header_only(100_000, 100_000, 8, 0), "pixels: not a radiograph"),
    ],
    ids=["empty", "text", "cut PNG", "cut JPEG", "BMP", "16-bit", "16-bit colour", "1-bit", "CMYK", "large", "bomb"],
)
def test_anything_else_is_an_error_with_file_and_reason(tmp_path: Path, content: bytes, reason: str):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.png: .*{reason}"):
        decode(path, 16)


def test_a_missing_file_and_a_folder_are_errors_of_the_data(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        decode(tmp_path / "absent.png", 16)
    with pytest.raises(DataError, match="not a complete PNG or JPEG"):
        decode(tmp_path, 16)


@given(st.sampled_from(["PNG", "JPEG"]), st.integers(0, 3000), st.binary(max_size=20), st.booleans())
def test_damaged_content_is_an_image_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, form: str, at: int, junk: bytes, cut: bool
):
    content = png(Image.fromarray(GREY), form)
    path = tmp_path_factory.mktemp("fuzz") / "a.png"
    path.write_bytes(content[:at] + junk + (b"" if cut else content[at + len(junk) :]))
    try:
        image = decode(path, 16)
    except DataError:
        return
    assert image.shape == (16, 16)
    assert image.dtype == np.uint8


def test_real_radiographs(test_data: Path):
    paths = sorted((test_data / "chestxray14-boxed224" / "images").iterdir())
    images = [decode(path, 224) for path in paths]
    assert len(images) == 39
    assert all(60 < image.mean() < 200 and image.std() > 20 for image in images)
