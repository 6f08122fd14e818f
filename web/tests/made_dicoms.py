"""DICOM files of all kinds, whose greys the page must decode as Python does."""

from pathlib import Path

import numpy as np
from dicom_datasets import dicom, in_syntax, with_frame
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

SYNTAXES = {
    "rle": RLELossless,
    "jpeg-lossless": JPEGLossless,
    "jpeg-lossless-sv1": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless,
}


def write_dicoms(folder: Path, image: np.ndarray) -> list[tuple[str, bool, str]]:
    """Write DICOM files that are read without the browser's JPEG decoder; return (name, keep_aspect, intensity)."""
    values = image[:301, :400].astype(np.uint16) * 16 + 7
    files = {**uncompressed(values), "8-bit": dicom(image[:301, :399], 8)}
    for name, file in files.items():
        file.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    big = dicom(values, 12)
    big.PixelData = values.astype(">u2").tobytes()
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dcmwrite(folder / "big-endian.dcm", big, implicit_vr=False, little_endian=False, enforce_file_format=True)
    names = [*files, "big-endian", *write_compressed(folder, image)]
    return [(f"{name}.dcm", False, intensity) for name in names for intensity in ("fixed", "per-image")]


def uncompressed(values: np.ndarray) -> dict[str, Dataset]:
    """Return files whose values become greys in different ways."""
    signed = values.astype(np.int16) - 1500
    table = Dataset()
    table.LUTDescriptor = [2000, 900, 10]
    table.LUTData = np.linspace(0, 1023, 2000).astype("<u2").tobytes()
    return {
        "monochrome2": dicom(values, 12),
        "monochrome1": dicom(values, 12, PhotometricInterpretation="MONOCHROME1"),
        "window": dicom(values, 12, WindowCenter=[1800, 300], WindowWidth=[2500.5, 100]),
        "exact": dicom(values, 12, WindowCenter=1800, WindowWidth=2500, VOILUTFunction="LINEAR_EXACT"),
        "sigmoid": dicom(values, 12, WindowCenter=1800, WindowWidth=2500, VOILUTFunction="SIGMOID"),
        "signed": dicom(signed, 13, RescaleSlope=1.5, RescaleIntercept=-20, WindowCenter=700, WindowWidth=5000),
        "table": dicom(values, 12, VOILUTSequence=Sequence([table])),
    }


def write_compressed(folder: Path, image: np.ndarray) -> list[str]:
    """Write an image of 12 bits (with noise, which lossless codecs find hard) and one of 8 bits in each syntax.

    cut-SYNTAX.dcm is a whole DICOM file whose compressed image was cut off.
    """
    noise = np.random.default_rng(0).integers(0, 16, (301, 400), np.uint16)
    images = {
        "12-bit": dicom(image[:301, :400].astype(np.uint16) * 16 + noise, 12),
        "8-bit": dicom(image[:301, :398], 8),
    }
    names = []
    for syntax, uid in SYNTAXES.items():
        for bits, file in images.items():
            names.append(f"{syntax}-{bits}")
            compressed = in_syntax(file, uid)
            compressed.save_as(folder / f"{names[-1]}.dcm", enforce_file_format=True)
        frame = get_frame(compressed.PixelData, 0, number_of_frames=1)
        cut = with_frame(compressed, uid, frame[: len(frame) * 3 // 5])
        cut.save_as(folder / f"cut-{syntax}.dcm", enforce_file_format=True)
    return names
