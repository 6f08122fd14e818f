"""Write what the tests of the page compare with: a model, images, and what Python says of them.

    python web/tests/make_fixtures.py MODEL FOLDER
    CXR_KD_WEB_FIXTURES=FOLDER npm test

All images are phantoms (synthetic radiographs). FOLDER gets model.onnx, images/ and greys/ with the files, and
expected.json with the logits of images/ and the decoded greys of greys/.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from cxr_kd.data.images.decode import decode
from cxr_kd.device.exported import ExportedModel
from cxr_kd.phantoms.draw import draw
from cxr_kd.study.data_settings import PhantomSettings

SMALL = 64  # px of the greys that are compared


def main(model_file: Path, folder: Path) -> None:
    """Write the folder."""
    images, greys = folder / "images", folder / "greys"
    for each in (images, greys):
        each.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model_file, folder / "model.onnx")
    phantoms = [draw(PhantomSettings(images=20, size=512), index).image for index in range(3)]
    write_images(images, phantoms)
    cases = [*write_pngs(greys, phantoms[0]), *write_dicoms(greys, phantoms[1])]
    expected = {"logits": logits_of(folder / "model.onnx", images), "greys": [decoded(greys, *case) for case in cases]}
    (folder / "expected.json").write_text(json.dumps(expected))
    print(f"{folder}: {len(expected['logits'])} images with logits, {len(cases)} with greys")


def write_images(folder: Path, phantoms: list[np.ndarray]) -> None:
    """Write the files whose logits are compared."""
    for index, image in enumerate(phantoms):
        Image.fromarray(image).save(folder / f"p{index}.png")
    Image.fromarray(phantoms[0]).save(folder / "grey.jpg", quality=90)
    Image.fromarray(coloured(phantoms[0])).save(folder / "colour.jpg", quality=90)
    values = phantoms[1].astype(np.uint16) * 16
    dicom(values, 12, WindowCenter=2000, WindowWidth=3600).save_as(folder / "window.dcm", enforce_file_format=True)
    jpeg = dicom(phantoms[0], 8, PhotometricInterpretation="MONOCHROME1")
    jpeg.PixelData = encapsulate([(folder / "grey.jpg").read_bytes()])
    jpeg["PixelData"].is_undefined_length = True
    jpeg.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    jpeg.save_as(folder / "jpeg.dcm", enforce_file_format=True)
    Image.fromarray(phantoms[2].astype(np.uint16) * 250 + 60).save(folder / "16-bit.png")


def write_pngs(folder: Path, image: np.ndarray) -> list[tuple[str, bool, str]]:
    """Write PNG files of all kinds; return (name, keep_aspect, intensity) of each case."""
    rng = np.random.default_rng(0)
    wide, tiny = image[:300, :501], image[200:240, 200:250]
    Image.fromarray(wide).save(folder / "wide.png")
    Image.fromarray(tiny).save(folder / "tiny.png")
    Image.fromarray(tiny[:, :3]).save(folder / "thin.png")
    Image.fromarray(coloured(wide)).save(folder / "rgb.png")
    alpha = rng.integers(0, 256, (*wide.shape, 1), np.uint8)
    Image.fromarray(np.concatenate([coloured(wide), alpha], axis=2)).save(folder / "rgba.png")
    Image.fromarray(np.concatenate([wide[:, :, None], alpha], axis=2)).save(folder / "la.png")
    Image.fromarray(coloured(wide)).quantize(64).save(folder / "palette.png")
    Image.fromarray(wide).quantize(16).save(folder / "palette-4-bit.png", bits=4)
    Image.fromarray(wide.astype(np.uint16) * 40 + 3000).save(folder / "16-bit.png")
    upright = [(f"orientation-{turn}.png", False, "fixed") for turn in range(1, 9)]
    for turn, (name, *_) in enumerate(upright, start=1):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(wide).save(folder / name, exif=exif)
    names = ("wide", "tiny", "thin", "rgb", "rgba", "la", "palette", "palette-4-bit", "16-bit")
    return [
        *((f"{name}.png", keep, "fixed") for name in names for keep in (False, True)),
        ("16-bit.png", False, "per-image"),
        *upright,
    ]


def write_dicoms(folder: Path, image: np.ndarray) -> list[tuple[str, bool, str]]:
    """Write DICOM files of all kinds that the page reads without the browser's JPEG decoder."""
    values = image[:301, :400].astype(np.uint16) * 16 + 7
    signed = values.astype(np.int16) - 1500
    table = Dataset()
    table.LUTDescriptor = [2000, 900, 10]
    table.LUTData = np.linspace(0, 1023, 2000).astype("<u2").tobytes()
    files = {
        "monochrome2": dicom(values, 12),
        "monochrome1": dicom(values, 12, PhotometricInterpretation="MONOCHROME1"),
        "window": dicom(values, 12, WindowCenter=[1800, 300], WindowWidth=[2500.5, 100]),
        "exact": dicom(values, 12, WindowCenter=1800, WindowWidth=2500, VOILUTFunction="LINEAR_EXACT"),
        "sigmoid": dicom(values, 12, WindowCenter=1800, WindowWidth=2500, VOILUTFunction="SIGMOID"),
        "signed": dicom(signed, 13, RescaleSlope=1.5, RescaleIntercept=-20, WindowCenter=700, WindowWidth=5000),
        "table": dicom(values, 12, VOILUTSequence=Sequence([table])),
        "8-bit": dicom(image[:301, :399], 8),
        "rle": dicom(values, 12),
    }
    files["rle"].compress(RLELossless, generate_instance_uid=False)
    for name, file in files.items():
        file.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    big = dicom(values, 12)
    big.PixelData = values.astype(">u2").tobytes()
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dcmwrite(folder / "big-endian.dcm", big, implicit_vr=False, little_endian=False, enforce_file_format=True)
    return [
        (f"{name}.dcm", False, intensity) for name in (*files, "big-endian") for intensity in ("fixed", "per-image")
    ]


def coloured(image: np.ndarray) -> np.ndarray:
    """Return an image whose three channels differ."""
    return np.stack([image, 255 - image // 2, image // 3 * 2], axis=2)


def dicom(values: np.ndarray, stored: int, **attributes: object) -> FileDataset:
    """Return a DICOM file of these stored values, uncompressed."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = values.shape
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME2"
    file.BitsAllocated = 8 * values.dtype.itemsize
    file.BitsStored, file.HighBit = stored, stored - 1
    file.PixelRepresentation = int(values.dtype.kind == "i")
    file.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    for name, value in attributes.items():
        setattr(file, name, value)
    return file


def logits_of(model_file: Path, folder: Path) -> dict[str, list[float]]:
    """Return what the model says in Python of each file of a folder."""
    model = ExportedModel.load(model_file, threads=1)
    told = model.metadata
    found = {}
    for path in sorted(folder.iterdir()):
        pixels = decode(path, told.image_size, keep_aspect=told.keep_aspect, intensity=told.intensity)
        found[path.name] = [float(logit) for logit in model.run(pixels[None]).logits[0]]
    return found


def decoded(folder: Path, name: str, keep_aspect: bool, intensity: str) -> dict[str, object]:
    """Return a case: a file, how it is decoded, and its greys."""
    pixels = decode(folder / name, SMALL, keep_aspect=keep_aspect, intensity=intensity)  # type: ignore[arg-type]
    told = base64.b64encode(pixels.tobytes()).decode()
    return {"file": name, "size": SMALL, "keep_aspect": keep_aspect, "intensity": intensity, "greys": told}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
