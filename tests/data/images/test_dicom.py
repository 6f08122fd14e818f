import errno
import io
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pytest
from dicom_datasets import dicom, in_syntax, with_frame
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, Sequence
from pydicom.pixels import apply_voi_lut
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxr_kd.data.images import dicom as dicom_format
from cxr_kd.data.images import gdcm_process
from cxr_kd.data.images.decode import MOST_PIXELS, decode
from cxr_kd.errors import DataError, StorageError

gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()

SIDE = 32
RADIOGRAPH = (
    np.add.outer(np.arange(SIDE) * 60, np.arange(SIDE) * 40) + np.random.default_rng(0).integers(0, 900, (SIDE, SIDE))
).astype(np.uint16)  # 12 bits: 0 to 3999
EIGHT_BIT = (RADIOGRAPH >> 4).astype(np.uint8)
LOSSLESS = (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)


def content(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture
def greys(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Write the data set and decode it at its own size."""

    def through_a_file(dataset: Dataset, **how: Any) -> np.ndarray:
        path = tmp_path / "a"  # no ending: the content says what it is
        path.write_bytes(content(dataset))
        return decode(path, dataset.Rows, **how)

    return through_a_file


def rounded(share: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)


# The expected greys are derived by hand from the standard.


def test_without_window_the_stored_bits_are_the_range(greys: Callable[..., np.ndarray]):
    np.testing.assert_array_equal(greys(dicom(RADIOGRAPH)), rounded(RADIOGRAPH / 4095))
    np.testing.assert_array_equal(greys(dicom(RADIOGRAPH, bits=16)), rounded(RADIOGRAPH / 65535))
    np.testing.assert_array_equal(greys(dicom(EIGHT_BIT, bits=8)), EIGHT_BIT)


def test_signed_values_begin_below_zero(greys: Callable[..., np.ndarray]):
    signed = RADIOGRAPH.astype(np.int16) - 2048
    np.testing.assert_array_equal(greys(dicom(signed)), rounded(RADIOGRAPH / 4095))


def test_overlay_bits_are_removed_and_other_bits_above_those_stored_are_refused(
    greys: Callable[..., np.ndarray],
):
    dataset = dicom(RADIOGRAPH | (np.arange(SIDE) % 2 << 15).astype(np.uint16))
    dataset.add_new(0x60020102, "US", 14)
    with pytest.raises(DataError, match="12 bits stored and values of 16 bits, which no overlay explains"):
        greys(dataset)
    dataset.add_new(0x60000102, "US", 15)
    np.testing.assert_array_equal(greys(dataset), rounded(RADIOGRAPH / 4095))


def test_bits_above_those_stored_are_the_sign_of_signed_values(greys: Callable[..., np.ndarray]):
    negative = RADIOGRAPH.astype(np.int16) - 4000
    negative[0, 0] = 0
    assert (negative.view(np.uint16) >> 12 != 0).sum() > SIDE  # bits above the 13 stored are set
    np.testing.assert_array_equal(greys(dicom(negative, bits=13)), rounded((negative + 4096.0) / 8191))


@pytest.mark.parametrize("high_bit", [15, 13])
def test_pixels_that_are_not_in_the_lowest_bits_are_refused(greys: Callable[..., np.ndarray], high_bit: int):
    ramp = (np.arange(SIDE**2) * 4).reshape(SIDE, SIDE).astype(np.uint16)
    shifted = ramp << (high_bit - 11)
    with pytest.raises(DataError, match=rf"12 bits stored and the high bit {high_bit}; .* with 11 the highest"):
        greys(dicom(shifted, HighBit=high_bit))
    with pytest.raises(DataError, match="which no overlay explains"):  # and where the high bit is not told
        greys(dicom(shifted))


def test_rescale_comes_before_the_window(greys: Callable[..., np.ndarray]):
    shown = greys(dicom(RADIOGRAPH, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3000, WindowWidth=2001))
    np.testing.assert_array_equal(shown, rounded((2.0 * RADIOGRAPH - 1000 - 2999.5) / 2000 + 0.5))


def test_a_negative_slope_turns_dark_to_bright(greys: Callable[..., np.ndarray]):
    turned = greys(dicom(RADIOGRAPH, RescaleSlope=-1, RescaleIntercept=4095))
    np.testing.assert_array_equal(turned, rounded(1 - RADIOGRAPH / 4095))
    windowed = greys(dicom(RADIOGRAPH, RescaleSlope=-1, RescaleIntercept=4095, WindowCenter=2000, WindowWidth=1001))
    np.testing.assert_array_equal(windowed, rounded((4095.0 - RADIOGRAPH - 1999.5) / 1000 + 0.5))


def test_rescale_alone_keeps_the_range_of_the_stored_bits(greys: Callable[..., np.ndarray]):
    rescaled = greys(dicom(RADIOGRAPH, RescaleSlope=0.5, RescaleIntercept=-100))
    np.testing.assert_array_equal(rescaled, rounded(RADIOGRAPH / 4095))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_first_window_as_pydicom_shows_it(greys: Callable[..., np.ndarray], function: str):
    dataset = dicom(RADIOGRAPH, WindowCenter=[2000, 9], WindowWidth=[1500, 9], VOILUTFunction=function)
    reference = apply_voi_lut(RADIOGRAPH, dataset) / 4095
    assert np.abs(greys(dataset) - 255 * reference).max() <= 0.501


def test_a_window_one_wide_is_a_threshold(greys: Callable[..., np.ndarray]):
    shown = greys(dicom(RADIOGRAPH, WindowCenter=2000, WindowWidth=1))
    np.testing.assert_array_equal(shown, np.where(RADIOGRAPH > 1999.5, 255, 0))


def test_monochrome1_is_inverted_after_the_window(greys: Callable[..., np.ndarray]):
    window = {"WindowCenter": 2000, "WindowWidth": 1000}
    plain = greys(dicom(RADIOGRAPH, **window))
    np.testing.assert_array_equal(greys(dicom(RADIOGRAPH, photometric="MONOCHROME1", **window)), 255 - plain)


def table_of(values: np.ndarray, first: int, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "US", values.tolist())
    return Sequence([item])


def test_lookup_tables_of_both_steps(greys: Callable[..., np.ndarray]):
    squared = (np.arange(4096) ** 2 // 4096).astype(np.uint16)
    voi = dicom(RADIOGRAPH, VOILUTSequence=table_of(squared, 0, 12), WindowCenter=5, WindowWidth=5)
    np.testing.assert_array_equal(greys(voi), rounded(squared[RADIOGRAPH] / 4095))  # the table counts, not the window
    rescaled = dicom(RADIOGRAPH, VOILUTSequence=table_of(squared, 0, 12), RescaleSlope=1, RescaleIntercept=0)
    np.testing.assert_array_equal(greys(rescaled), rounded(squared[RADIOGRAPH] / 4095))
    modality = dicom(RADIOGRAPH, ModalityLUTSequence=table_of(squared, 0, 16), WindowCenter=2000, WindowWidth=1001)
    np.testing.assert_array_equal(greys(modality), rounded((squared[RADIOGRAPH] - 1999.5) / 1000 + 0.5))


def test_per_image_replaces_the_window(greys: Callable[..., np.ndarray]):
    low, high = int(RADIOGRAPH.min()), int(RADIOGRAPH.max())
    dataset = dicom(RADIOGRAPH, WindowCenter=9, WindowWidth=9, RescaleSlope=3, RescaleIntercept=7)
    share = (RADIOGRAPH.astype(float) - low) / (high - low)
    np.testing.assert_array_equal(greys(dataset, intensity="per-image"), rounded(share))
    dataset.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(greys(dataset, intensity="per-image"), 255 - rounded(share))


def test_an_enhanced_object_of_one_frame(greys: Callable[..., np.ndarray]):
    window, rescale, group = Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 3000, 2001
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -1000
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = Sequence([window]), Sequence([rescale])
    enhanced = dicom(RADIOGRAPH, NumberOfFrames=1, SharedFunctionalGroupsSequence=Sequence([group]))
    np.testing.assert_array_equal(greys(enhanced), rounded((2.0 * RADIOGRAPH - 1000 - 2999.5) / 2000 + 0.5))


# Transfer syntaxes.


@pytest.mark.parametrize("pixels", [RADIOGRAPH, RADIOGRAPH.astype(np.int16) - 2048], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_lossless_compression_changes_nothing(greys: Callable[..., np.ndarray], syntax: str, pixels: np.ndarray):
    window = {"RescaleSlope": 1, "RescaleIntercept": 0, "WindowCenter": 500, "WindowWidth": 3000}
    dataset = dicom(pixels, **window)
    np.testing.assert_array_equal(greys(in_syntax(dataset, syntax)), greys(dataset))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_syntaxes_give_equal_pixels(greys: Callable[..., np.ndarray], syntax: str):
    dataset = dicom(RADIOGRAPH)
    dataset.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(greys(dataset), rounded(RADIOGRAPH / 4095))


def test_big_endian(greys: Callable[..., np.ndarray]):
    dataset = dicom(RADIOGRAPH.astype(">u2"))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset["PixelData"].VR = "OW"
    np.testing.assert_array_equal(greys(dataset), rounded(RADIOGRAPH / 4095))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_jpeg_of_eight_bits_is_what_pillow_reads_from_the_same_jpeg(greys: Callable[..., np.ndarray], syntax: str):
    dataset = with_frame(dicom(EIGHT_BIT, bits=8), syntax, jpeg())
    np.testing.assert_array_equal(greys(dataset), np.array(Image.open(io.BytesIO(jpeg()))))


def jpeg(pixels: np.ndarray = EIGHT_BIT) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def test_a_file_without_the_preamble(tmp_path: Path):
    whole = content(dicom(RADIOGRAPH))
    bare = io.BytesIO()  # without group 0002, too: the content shows its encoding
    dataset = dicom(RADIOGRAPH, SpecificCharacterSet="ISO_IR 100")
    del dataset.file_meta
    dataset.save_as(bare, implicit_vr=True, little_endian=True)
    for name, written in (("without", whole[132:]), ("bare", bare.getvalue())):
        (tmp_path / name).write_bytes(written)
        np.testing.assert_array_equal(decode(tmp_path / name, SIDE), rounded(RADIOGRAPH / 4095))


# Files that are no radiographs, or cannot be read.


def without_pixels() -> Dataset:
    dataset = dicom(RADIOGRAPH)
    del dataset.PixelData
    return dataset


BOMB = in_syntax(dicom(RADIOGRAPH), JPEGLosslessSV1)
BOMB.PixelData = BOMB.PixelData.replace(b"\x00\x20\x00\x20\x01", b"\xff\xff\xff\xff\x01")  # in the start of frame


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (content(without_pixels()), "without pixel data"),
        (content(dicom(np.stack([RADIOGRAPH] * 2), NumberOfFrames=2)), "2 frames"),
        (content(dicom(EIGHT_BIT, 8, "RGB", SamplesPerPixel=3)), "photometric interpretation 'RGB' with 3 values"),
        (content(dicom(EIGHT_BIT, 8, "PALETTE COLOR")), "photometric interpretation 'PALETTE COLOR'"),
        (content(with_frame(dicom(EIGHT_BIT, 8), MPEG2MPML, b"\0" * 64)), "transfer syntax MPEG2"),
        (content(with_frame(dicom(RADIOGRAPH), JPEGExtended12Bit, jpeg())), "12 bits in the transfer syntax JPEG Ext"),
        (content(dicom(RADIOGRAPH, Rows=60_000, Columns=60_000)), "60000x60000: over .* pixels: not a radiograph"),
        (content(BOMB), r"the compressed image has \(65535, 65535\) rows and columns, but its file says \(32, 32\)"),
        (content(dicom(RADIOGRAPH))[:-500], "DICOM"),
        (content(in_syntax(dicom(RADIOGRAPH), JPEGLSLossless))[:-500], "DICOM"),
        (content(dicom(RADIOGRAPH))[:140], "DICOM"),
        (content(dicom(RADIOGRAPH // 9999 + 5)), "every pixel has the same grey"),
        (content(dicom(RADIOGRAPH, WindowCenter=9, WindowWidth=0)), "a window width of 0"),
        (content(dicom(RADIOGRAPH, RescaleSlope=0, RescaleIntercept=0)), "every pixel has the same grey"),
        (b"\x08\x00\x05\x00" + b"plainly something else" * 9, "DICOM"),
        (b"\0" * 500, "not a PNG, JPEG or DICOM file"),
    ],
    ids=[
        "no pixels", "frames", "RGB", "palette", "MPEG", "12-bit JPEG", "large", "bomb", "cut", "cut JPEG-LS",
        "cut early", "constant", "window", "slope 0", "pretender", "zeros",
    ],
)  # fmt: skip
def test_anything_else_is_an_error_with_file_and_reason(tmp_path: Path, written: bytes, reason: str):
    path = tmp_path / "bad.dcm"
    path.write_bytes(written)
    with pytest.raises(DataError, match=rf"bad\.dcm: .*{reason}"):
        decode(path, 16)
    assert dicom(RADIOGRAPH).Rows * 60_000 < MOST_PIXELS  # so the file above is refused for its size alone


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd values written here
def test_nothing_is_printed(tmp_path: Path):
    """Neither pydicom's warnings about odd values nor the output of GDCM's codecs."""
    odd = dicom(RADIOGRAPH, WindowCenter=2000, WindowWidth=1000)
    odd.StudyDate, odd.PatientName = "yesterday", "x" * 99
    damaged = in_syntax(odd, JPEGLosslessSV1)
    damaged.PixelData = damaged.PixelData[:400] + bytes(64) + damaged.PixelData[464:]
    for name, dataset in (("odd.dcm", odd), ("damaged.dcm", damaged)):
        (tmp_path / name).write_bytes(content(dataset))
    script = (
        "import pathlib, sys\nfrom cxr_kd.data.images.decode import decode\nfrom cxr_kd.errors import DataError\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: decode(path, 16)\n    except DataError: pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("", "")


COMPRESSED = {
    name: in_syntax(dicom(RADIOGRAPH), syntax)
    for name, syntax in (("lossless", JPEGLosslessSV1), ("ls", JPEGLSLossless), ("2000", JPEG2000Lossless))
}
WHOLE = {
    "plain": content(dicom(RADIOGRAPH, RescaleSlope=1, RescaleIntercept=0, WindowCenter=5, WindowWidth=5)),
    "rle": content(in_syntax(dicom(RADIOGRAPH), RLELossless)),
    "jpeg": content(with_frame(dicom(EIGHT_BIT, bits=8), JPEGBaseline8Bit, jpeg())),
    **{name: content(dataset) for name, dataset in COMPRESSED.items()},
}


def check_any_end(path: Path, written: bytes) -> None:
    path.write_bytes(written)
    try:
        image = decode(path, 16)
    except DataError:
        return
    assert (image.shape, image.dtype) == ((16, 16), np.uint8)


@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1), st.binary(max_size=8), st.booleans())
def test_damaged_files_are_an_image_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, form: str, place: float, junk: bytes, cut: bool
):
    whole = WHOLE[form]
    at = int(place * len(whole))
    damaged = whole[:at] + junk + (b"" if cut else whole[at + len(junk) :])
    check_any_end(tmp_path_factory.mktemp("fuzz") / "a.dcm", damaged)


@settings(max_examples=40)
@given(st.sampled_from(sorted(COMPRESSED)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6))
@example("lossless", [(place / 40, 0xFF) for place in range(1, 40)])
def test_damaged_codestreams_are_an_image_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, form: str, changes: list[tuple[float, int]]
):
    dataset = COMPRESSED[form]
    frame = bytearray(dataset.PixelData[16:])
    for place, value in changes:
        frame[int(place**3 * (len(frame) - 1))] = value  # mostly near the beginning, where the tables are
    check_any_end(
        tmp_path_factory.mktemp("fuzz") / "a.dcm",
        content(with_frame(dataset, dataset.file_meta.TransferSyntaxUID, bytes(frame))),
    )


def test_a_decoder_that_died_is_started_again(tmp_path: Path):
    path = tmp_path / "a.dcm"
    path.write_bytes(WHOLE["ls"])
    before = decode(path, 16)
    assert gdcm_process._process is not None
    gdcm_process._process[1].kill()
    gdcm_process._process[1].wait()
    np.testing.assert_array_equal(decode(path, 16), before)


def test_a_decoder_that_dies_on_an_image_is_an_error_of_that_image(tmp_path: Path):
    path = tmp_path / "a.dcm"
    path.write_bytes(WHOLE["ls"])
    decode(path, 16)
    assert gdcm_process._process is not None
    process = gdcm_process._process[1]
    process.send_signal(signal.SIGSTOP)
    threading.Timer(0.3, process.send_signal, [signal.SIGABRT]).start()  # as GDCM ends itself
    threading.Timer(0.4, process.send_signal, [signal.SIGCONT]).start()
    with pytest.raises(DataError, match="GDCM's process ended on it") as raised:
        decode(path, 16)
    assert not isinstance(raised.value, StorageError)


def test_a_disk_that_fails_is_no_error_of_the_content():
    class Failing(io.BytesIO):
        def read(self, *_: int | None) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        dicom_format.read(Failing(), "fixed")


def test_a_decoder_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.dcm"
    path.write_bytes(WHOLE["ls"])
    decode(path, 16)
    assert gdcm_process._process is not None
    gdcm_process._process[1].send_signal(signal.SIGSTOP)
    monkeypatch.setattr(gdcm_process, "SECONDS", 0.2)
    with pytest.raises(StorageError, match=r"a\.dcm: GDCM's process was killed: over 0\.2 s, or out of memory"):
        decode(path, 16)
    monkeypatch.undo()
    assert decode(path, 16).std() > 10
