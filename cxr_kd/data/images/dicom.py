"""Decode a radiograph in a DICOM file to 8-bit greys, as its window shows them.

This module gets the stored values out of the file; `dicom_greys` says which grey each of them becomes.

pydicom decodes uncompressed syntaxes and RLE; Pillow decodes JPEG (8 bits) and JPEG 2000; GDCM decodes lossless JPEG
and JPEG-LS. GDCM ends its process on some damaged files (about one in sixty with a few bytes changed), so it has a
process of its own (`cxr_kd.data.images.gdcm_process`).
"""

from __future__ import annotations

import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cxr_kd.data.images import gdcm_process
from cxr_kd.data.images.dicom_greys import greys, stored_range
from cxr_kd.data.images.resize import MOST_PIXELS, check_shape, looked_up
from cxr_kd.errors import DataError, is_of_storage

if TYPE_CHECKING:
    from pydicom import Dataset

    from cxr_kd.study.data_settings import Intensity

HEADER_BYTES = 132  # preamble and magic word

# A file without the preamble counts as DICOM if it begins with one of the first elements of group 0002 (explicit VR:
# two letters), or with the length or the character set of group 0008.
_BARE = (b"\x02\x00\x00\x00UL", b"\x02\x00\x01\x00OB", b"\x02\x00\x10\x00UI", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00")
_BITS = range(1, 17)
_MOST_BYTES = 2 * MOST_PIXELS + 2**24  # of a data set: 16-bit pixels and 16 MiB of everything else
_PIECE = 2**20  # bytes
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
# Macros of an enhanced (multi-frame) object with one frame; older objects have their attributes at the top level.
_FRAME_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
_PLUGINS = {
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "pillow",  # JPEG extended
    "1.2.840.10008.1.2.4.90": "pillow",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pillow",  # JPEG 2000
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "gdcm",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": "gdcm",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "gdcm",  # JPEG-LS near-lossless
}


def is_dicom(header: bytes) -> bool:
    """Return whether a file that begins with these HEADER_BYTES is DICOM, with or without the preamble."""
    return header[128:132] == b"DICM" or header.startswith(_BARE)


def read(file: BinaryIO, intensity: Intensity) -> np.ndarray:
    """Return the radiograph in an open DICOM file as uint8 (H, W); with "per-image" there is no VOI step.

    Raises:
        DataError: no pixel data, several frames, colour, an unsupported transfer syntax, a truncated or damaged file,
            bits that are neither pixels nor overlay, a shape that no radiograph has, a deflated data set too large for
            one.
        OSError: if the file cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings about values that are not used here
            return _read(file, intensity)
    except Exception as error:  # hostile files make pydicom raise errors of every type
        if isinstance(error, DataError) or is_of_storage(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"not a complete, readable DICOM file ({error.__class__.__name__}: {reason})") from error


def _read(file: BinaryIO, intensity: Intensity) -> np.ndarray:
    from pydicom import dcmread

    check_inflated_size(file)
    dataset = dcmread(file, force=True)
    _check(dataset)
    _flatten(dataset)
    pixels = _stored(dataset)
    low, high = stored_range(dataset)
    if pixels.shape != (dataset.Rows, dataset.Columns) or pixels.dtype.kind not in "ui":
        raise DataError(f"pixels of {pixels.dtype} {pixels.shape}; the file says {dataset.Rows, dataset.Columns}")
    shown = (int(pixels.min()), int(pixels.max())) if intensity == "per-image" else None
    return looked_up(greys(dataset, low, high, shown), pixels, low)


def check_inflated_size(file: BinaryIO) -> None:
    """Raise DataError if the data set is deflated and larger than that of any radiograph; leave `file` at its start.

    pydicom inflates the whole data set into memory, before the size of the image is known.
    """
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    read_preamble(file, force=True)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        inflater, size, deflated = zlib.decompressobj(-zlib.MAX_WBITS), 0, file.read()
        while deflated and size <= _MOST_BYTES:
            size += len(inflater.decompress(deflated, _PIECE))
            deflated = inflater.unconsumed_tail
        if size > _MOST_BYTES:
            raise DataError(f"a deflated DICOM data set of over {_MOST_BYTES:,} bytes: not a radiograph")
    file.seek(0)


def _check(dataset: Dataset) -> None:
    if "PixelData" not in dataset or not dataset.PixelData:
        raise DataError("DICOM without pixel data (a report or a presentation state, or cut off before it)")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DataError(f"DICOM of {frames} frames; this reader takes single radiographs")
    colours, values = dataset.get("PhotometricInterpretation"), dataset.get("SamplesPerPixel", 1)
    if colours not in ("MONOCHROME1", "MONOCHROME2") or values != 1:
        raise DataError(
            f"DICOM of photometric interpretation {colours!r} with {values} values per pixel; a radiograph has one, "
            "MONOCHROME1 or MONOCHROME2"
        )
    if dataset.BitsStored not in _BITS:
        raise DataError(f"DICOM with {dataset.BitsStored} bits stored; this reader takes 1 to 16")
    if dataset.get("HighBit") not in (None, dataset.BitsStored - 1):
        raise DataError(
            f"DICOM with {dataset.BitsStored} bits stored and the high bit {dataset.HighBit}; this reader takes pixels "
            f"in the lowest bits, with {dataset.BitsStored - 1} the highest"
        )
    check_shape(dataset.Rows, dataset.Columns)


def _flatten(dataset: Dataset) -> None:
    """Move rescale and window of an enhanced object's only frame to the top level, where older objects have them."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in dataset.get(groups) or ():
            for macro in _FRAME_MACROS:
                for item in group.get(macro) or ():
                    dataset.update(item)


def _stored(dataset: Dataset) -> np.ndarray:
    """Return the stored values, (H, W), decoded."""
    from pydicom.encaps import get_frame
    from pydicom.pixels import as_pixel_options, get_decoder
    from pydicom.uid import JPEGExtended12Bit, UncompressedTransferSyntaxes

    syntax = _syntax(dataset)
    if syntax in UncompressedTransferSyntaxes:
        return _without_overlays(dataset, get_decoder(syntax))
    if syntax not in _PLUGINS or (syntax == JPEGExtended12Bit and dataset.BitsStored != 8):
        raise DataError(
            f"DICOM of {dataset.BitsStored} bits in the transfer syntax {syntax.name} ({syntax}), which is not "
            "supported; convert it to JPEG 2000 lossless or to an uncompressed syntax"
        )
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    stated = _codestream_shape(frame)
    if stated not in (None, (dataset.Rows, dataset.Columns)):
        own = dataset.Rows, dataset.Columns
        raise DataError(f"the compressed image has {stated} rows and columns, but its file says {own}")
    if _PLUGINS[syntax] == "gdcm":
        return gdcm_process.decode(frame, str(syntax), as_pixel_options(dataset))
    return get_decoder(syntax).as_array(dataset, index=0, decoding_plugin=_PLUGINS[syntax])[0]


def _without_overlays(dataset: Dataset, decoder: Any) -> np.ndarray:
    """Return uncompressed values; above the stored bits, unsigned values may have only overlays.

    Other bits there mean that the file states wrong numbers of bits.
    """
    if dataset.PixelRepresentation == 1:  # the bits above are the sign
        return decoder.as_array(dataset, index=0)[0]
    pixels = decoder.as_array(dataset, index=0, correct_unused_bits=False)[0]
    own = 2**dataset.BitsStored - 1
    found = int(np.bitwise_or.reduce(pixels, axis=None))
    if found & ~own & ~_overlay_bits(dataset):
        raise DataError(
            f"DICOM with {dataset.BitsStored} bits stored and values of {found.bit_length()} bits, which no overlay "
            "explains"
        )
    return pixels & own


def _overlay_bits(dataset: Dataset) -> int:
    """Return the bits of the stored values that overlays occupy (PS3.3 C.9.2, as it was up to 2004)."""
    bits = 0
    for group in _OVERLAY_GROUPS:
        if (group, 0x0102) in dataset:
            bits |= 1 << dataset[group, 0x0102].value
    return bits


def _syntax(dataset: Dataset) -> Any:
    """Return the transfer syntax; if the file states none, the one in which pydicom read it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset.file_meta.TransferSyntaxUID


def _codestream_shape(frame: bytes) -> tuple[int, int] | None:
    """Return the rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream states; None if it states none (RLE).

    A decoder takes the memory that these numbers ask for, whatever the DICOM file says.
    """
    begin = frame.find(b"\xff\x4f\xff\x51", 0, 256)  # SIZ, the first segment of JPEG 2000 (ISO/IEC 15444-1 A.5.1)
    if begin >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", frame, begin + 8)
        return bottom - top, right - left
    at = 2
    while frame.startswith(b"\xff\xd8") and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):  # a start of frame
            return struct.unpack_from(">2H", frame, at + 5)
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", frame, at + 2)[0]
    return None
