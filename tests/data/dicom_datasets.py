"""DICOM data sets of given pixels, uncompressed and in compressed transfer syntaxes."""

import copy
from typing import Any

import gdcm
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, RLELossless


def dicom(pixels: np.ndarray, bits: int = 12, photometric: str = "MONOCHROME2", **elements: Any) -> Dataset:
    """Return an uncompressed data set of these stored values (..., H, W), of so many bits, with further elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def in_syntax(dataset: Dataset, syntax: str) -> Dataset:
    """Return the same image in another transfer syntax, compressed by pydicom (RLE) or GDCM."""
    dataset = copy.deepcopy(dataset)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
        return dataset
    writer = gdcm.ImageWriter()
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dataset.Columns, dataset.Rows, 1))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    bits = dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    image.SetPixelFormat(gdcm.PixelFormat(1, *bits))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(dataset.PixelData)
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(image)
    assert change.Change()
    fragment = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0)
    return with_frame(dataset, syntax, fragment.GetByteValue().GetBuffer().encode("utf-8", "surrogateescape"))


def with_frame(dataset: Dataset, syntax: str, frame: bytes) -> Dataset:
    dataset = copy.deepcopy(dataset)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    return dataset
