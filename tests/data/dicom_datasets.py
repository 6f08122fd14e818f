"""DICOM data sets in compressed transfer syntaxes."""

import copy

import gdcm
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless


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
