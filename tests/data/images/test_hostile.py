"""Image files that are small on disk and would take gigabytes or hang: each is refused with a reason."""

import os
import socket
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from bounded import refused
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian
from test_decode import GREY, chunk, png
from test_dicom import RADIOGRAPH, content, dicom

from cxr_kd.data.images import archive
from cxr_kd.data.images.decode import decode
from cxr_kd.data.images.resize import MOST_ASPECT, MOST_PIXELS, check_shape
from cxr_kd.errors import DataError

DECODE = "from cxr_kd.data.images.decode import decode; decode(path, 64)"


def deflated(size: int, wbits: int = zlib.MAX_WBITS, first: bytes = b"") -> bytes:
    """Return `first` and `size` zeros, deflated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    pieces = [packer.compress(first), *(packer.compress(bytes(2**20)) for _ in range(size // 2**20 + 1))]
    return b"".join([*pieces, packer.flush()])


def blank_png(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", deflated((width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def deflated_dicom(size: int) -> bytes:
    """Return a radiograph in a deflated data set, followed by an element of `size` zeros."""
    dataset = dicom(RADIOGRAPH)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    written = content(dataset)
    begin = 144 + struct.unpack_from("<I", written, 140)[0]  # behind group 0002
    element = struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, size)
    return written[:begin] + deflated(
        size, -zlib.MAX_WBITS, zlib.decompress(written[begin:], -zlib.MAX_WBITS) + element
    )


@pytest.mark.parametrize(
    ("name", "written", "reason"),
    [
        ("wide.png", lambda: blank_png(40_000_000, 1), "40000000x1: one side is over 50 times the other"),
        ("tall.png", lambda: blank_png(1, 40_000_000), "1x40000000: one side is over 50 times the other"),
        ("large.png", lambda: blank_png(8900, 8900), "every pixel has the same grey"),  # the largest that is decoded
        ("bomb.dcm", lambda: deflated_dicom(2**30), "a deflated DICOM data set of over 176,777,216 bytes"),
    ],
)
def test_a_bomb_is_refused_within_a_gigabyte(tmp_path: Path, name: str, written, reason: str):
    path = tmp_path / name
    path.write_bytes(written())
    assert path.stat().st_size < 4e6
    assert reason in refused(path, DECODE)


def test_a_deflated_radiograph_of_the_largest_size_is_read_within_a_gigabyte(tmp_path: Path):
    large = np.zeros((8900, 8900), np.uint16)
    large[::7, ::5] = 3000
    dataset = dicom(large)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    (tmp_path / "a.dcm").write_bytes(content(dataset))
    assert refused(tmp_path / "a.dcm", DECODE) == ""


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((1, 1, 40_000_000), "40000000x1: one side is over"),
        ((1, 20_000, 20_000), "20000x20000: over 80,000,000 pixels"),
    ],
)
def test_an_array_of_absurd_images_is_refused_before_it_is_read(tmp_path: Path, shape: tuple[int, ...], reason: str):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("images.npy", "w") as member:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(int(np.prod(shape)) // 40_000_000):
            member.write(bytes(40_000_000))
    assert path.stat().st_size < 4e6
    with pytest.raises(DataError, match=reason):
        archive.image(f"{path}#images/0")
    if np.prod(shape) > 2**28:
        code = "from cxr_kd.data.images import archive; archive.array(path, 'images')"
        assert "too large to be labels" in refused(path, code)


@pytest.mark.parametrize("name", ["a.png", "a.npz"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, name: str):
    path = tmp_path / name
    os.mkfifo(path)
    code = DECODE if name == "a.png" else DECODE.replace("path,", "Path(f'{path}#images/0'),")
    assert "a named pipe, not a file; put the file itself there" in refused(path, code)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(DataError, match="a socket, not a file"):
            decode(path if name == "a.png" else Path(f"{path}#images/0"), 16)
    with pytest.raises(DataError, match=r"^/dev/zero: a device, not a file"):
        decode(Path("/dev/zero"), 16)


def test_the_shapes_that_are_allowed():
    check_shape(1, MOST_ASPECT)
    check_shape(8000, MOST_PIXELS // 8000)
    for height, width in ((1, MOST_ASPECT + 1), (MOST_ASPECT * 7 + 1, 7), (8000, MOST_PIXELS // 8000 + 1), (0, 5)):
        with pytest.raises(DataError, match="not a radiograph"):
            check_shape(height, width)


@pytest.mark.parametrize("bits", [8, 16])
def test_no_altered_byte_of_a_png_file_gives_other_pixels(tmp_path: Path, bits: int):
    """Pillow alone decodes some of these to other pixels."""
    image = Image.fromarray(GREY if bits == 8 else GREY.astype(np.uint16) * 99)
    whole, path = png(image), tmp_path / "a.png"
    path.write_bytes(whole)
    before = decode(path, 64)
    for at in range(8, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(DataError, match=r"a\.png: .*PNG"):
            decode(path, 64)
    path.write_bytes(whole + b"what follows the last chunk does no harm")
    np.testing.assert_array_equal(decode(path, 64), before)


def test_a_png_file_says_which_chunk_is_damaged_or_that_its_end_is_missing(tmp_path: Path):
    path, whole = tmp_path / "a.png", png(Image.fromarray(GREY))
    at = whole.index(b"IDAT") + 100
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(DataError, match=r"a\.png: .*chunk 'IDAT' is damaged or cut off: its CRC does not match"):
        decode(path, 16)
    path.write_bytes(whole[:-12])
    with pytest.raises(DataError, match="without its last chunk, IEND"):
        decode(path, 16)


TURNS = {  # EXIF orientation -> what it does to the stored pixels (EXIF 2.32, table of tag 274)
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "16-bit"])
def test_exif_orientation_is_applied(tmp_path: Path, form: str, orientation: int):
    stored = np.add.outer(np.arange(64) * 3, np.arange(32)).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(stored if form != "16-bit" else stored.astype(np.uint16) * 257)
    image.save(
        tmp_path / "a", "JPEG" if form == "JPEG" else "PNG", exif=exif, **({"quality": 95} if form == "JPEG" else {})
    )
    shown = decode(tmp_path / "a", 64, keep_aspect=True)
    wanted = np.pad(TURNS[orientation](stored), [(16, 16), (0, 0)] if orientation > 4 else [(0, 0), (16, 16)])
    assert np.abs(shown.astype(int) - wanted).max() <= (3 if form == "JPEG" else 0)


@given(st.lists(st.tuples(st.floats(0, 0.99), st.integers(0, 255)), max_size=6), st.sampled_from(["PNG", "JPEG"]))
def test_damaged_exif_data_never_cost_the_image(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]], form: str
):
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a radiograph"
    damaged = bytearray(exif.tobytes())
    for place, value in changes:
        damaged[6 + int(place * (len(damaged) - 6))] = value
    path = tmp_path_factory.mktemp("exif") / "a"
    Image.fromarray(GREY).save(path, form, exif=bytes(damaged))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is printed
        shown = decode(path, 64)
        warnings.simplefilter("ignore")
        stored = np.asarray(Image.open(path))
    assert any(np.array_equal(shown, turn(stored)) for turn in TURNS.values())
