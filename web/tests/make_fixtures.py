"""Write what the tests of the page compare with: models, images, and what Python says of them.

    python web/tests/make_fixtures.py FOLDER
    CXR_KD_WEB_FIXTURES=FOLDER npm test

FOLDER gets model.onnx and int8.onnx (random weights), images/ and greys/ with files, and expected.json with the logits
of images/ and the decoded greys of greys/. The images are phantoms (synthetic radiographs), and a few real radiographs
if CXR_KD_TEST_DATA or ../shared/data is the folder that holds them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "data"), str(ROOT / "tests" / "device")]  # as pytest does

from dicom_datasets import dicom  # noqa: E402
from made_dicoms import write_dicoms  # noqa: E402
from made_models import SIZE, logits, write_models  # noqa: E402
from made_pngs import coloured, write_pngs  # noqa: E402

from cxr_kd.data.images.decode import decode  # noqa: E402
from cxr_kd.phantoms.draw import draw  # noqa: E402
from cxr_kd.study.data_settings import PhantomSettings  # noqa: E402

SMALL = 64  # px of the greys that are compared
KEEP_ASPECT = True  # of the run that runs_to_export writes
REAL = Path(os.environ.get("CXR_KD_TEST_DATA") or ROOT.parent / "shared" / "data")


def main(folder: Path) -> None:
    """Write the folder."""
    images, greys = folder / "images", folder / "greys"
    for each in (images, greys):
        each.mkdir(parents=True, exist_ok=True)
    write_models(folder)
    phantoms = [draw(PhantomSettings(images=20, size=512), index).image for index in range(3)]
    write_images(images, phantoms)
    cases = [*write_pngs(greys, phantoms[0]), *write_dicoms(greys, phantoms[1])]
    real = copy_real(images)
    if (images / "RG1_J2KI.dcm").exists():
        shutil.copyfile(images / "RG1_J2KI.dcm", greys / "RG1_J2KI.dcm")
        cases.append(("RG1_J2KI.dcm", True, "fixed"))
    names = sorted(path.name for path in images.iterdir())
    pixels = [decode(images / name, SIZE, keep_aspect=KEEP_ASPECT) for name in names]
    models = {name: (folder / f"{name}.onnx").read_bytes() for name in ("model", "int8")}
    expected = {
        "size": SIZE,
        "real": real,
        "logits": {model: dict(zip(names, logits(content, pixels), strict=True)) for model, content in models.items()},
        "greys": [decoded(greys, *case) for case in cases],
    }
    (folder / "expected.json").write_text(json.dumps(expected))
    print(f"{folder}: {len(names)} images with logits, {len(real)} of them real; {len(cases)} with greys")


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


def copy_real(folder: Path) -> list[str]:
    """Copy real radiographs, if there are any; return their names."""
    found = [
        *sorted((REAL / "dicom").glob("*.dcm")),
        *sorted((REAL / "chestxray14-boxed224" / "images").glob("*.png"))[:2],
    ]
    if not found:
        print(f"There are no real radiographs in {REAL}: they are left out.")
    for path in found:
        shutil.copyfile(path, folder / path.name)
    return [path.name for path in found]


def decoded(folder: Path, name: str, keep_aspect: bool, intensity: str) -> dict[str, object]:
    """Return a case: a file, how it is decoded, and its greys."""
    pixels = decode(folder / name, SMALL, keep_aspect=keep_aspect, intensity=intensity)  # type: ignore[arg-type]
    told = base64.b64encode(pixels.tobytes()).decode()
    return {"file": name, "size": SMALL, "keep_aspect": keep_aspect, "intensity": intensity, "greys": told}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
