"""Read the polygons that radiologists drew on CheXpert's validation and test images: CheXlocalize's JSON files.

Saporta et al., "Benchmarking saliency methods for chest X-ray interpretation", Nature Machine Intelligence 2022: 10
findings, outlined by two board-certified radiologists. One file per side, `gt_annotations_val.json` and
`gt_annotations_test.json`: image -> {"img_size": [height, width], finding -> [polygon, ...]}, where an image is called
like patient64622_study1_view1_frontal and a polygon is [[x, y], ...] in pixels of the full-size image.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cxr_kd.data.images.resize import check_shape
from cxr_kd.data.regular_file import check_regular
from cxr_kd.data.table import Masks
from cxr_kd.errors import DataError, StorageError, is_of_storage
from cxr_kd.files import read_json

FILES = {"valid": "gt_annotations_val.json", "test": "gt_annotations_test.json"}
FOLDER = "CheXlocalize"  # the files lie beside CheXpert's tables, or in this folder beside them
FINDINGS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
)
SPELLINGS = {"Airspace Opacity": "Lung Opacity"}  # CheXlocalize's word for CheXpert's finding
CLIPPED = "polygons that reach beyond their image (cut off at its edge)"
NOT_THERE = "outlined images that are not there"

_SIZE = "img_size"
_CORNERS = 3  # fewer enclose no area

Polygon = list[tuple[float, float]]  # corners (x, y) in pixels; (0, 0) is the centre of the first pixel


@dataclass(frozen=True)
class Outlined:
    """What is outlined on one image: its height and width in pixels, and the polygons of each finding."""

    height: int
    width: int
    polygons: Mapping[str, list[Polygon]]

    @property
    def clipped(self) -> int:
        """The number of polygons with a corner beyond the image."""
        return sum(not self._inside(polygon) for drawn in self.polygons.values() for polygon in drawn)

    def _inside(self, polygon: Polygon) -> bool:
        return all(0 <= x <= self.width and 0 <= y <= self.height for x, y in polygon)

    def masks(self) -> dict[str, np.ndarray]:
        """Return finding -> mask, bool (height, width): all polygons of the finding, their edges included."""
        return {finding: self._mask(polygons) for finding, polygons in self.polygons.items() if polygons}

    def _mask(self, polygons: Iterable[Polygon]) -> np.ndarray:
        canvas = Image.new("L", (self.width, self.height))
        for polygon in polygons:
            ImageDraw.Draw(canvas).polygon(polygon, outline=1, fill=1)
        return np.asarray(canvas, dtype=bool)


def find_files(*folders: Path) -> dict[str, Path]:
    """Return side of CheXpert ("valid", "test") -> its file in the first of these folders, or their CheXlocalize/."""
    places = [place for folder in folders for place in (folder, folder / FOLDER)]
    found = {side: [place / name for place in places if (place / name).is_file()] for side, name in FILES.items()}
    return {side: paths[0] for side, paths in found.items() if paths}


def masks_of(
    files: Mapping[str, Path], known: Collection[str], there: Collection[str]
) -> tuple[Masks | None, dict[str, int]]:
    """Return the masks of CheXpert images, image id -> {finding: bool (H, W)}, and what was cut off or left out.

    Masks have the full size of the image as it was outlined, whatever the size of the image file. They are drawn when
    they are asked for. An image without polygons has {}. A polygon that reaches beyond its image is cut off at the
    edge, as viewers draw it, and counted. None instead of masks without `files` (`find_files`).

    `known`: the ids in the label tables; `there`: those that are read. Raises DataError for what `read` refuses, and an
    image that the label tables do not know; and from the masks, for an id that is not `there`.
    """
    outlined: dict[str, Outlined] = {}
    for side, path in files.items():
        ids = {name_of(image_id): image_id for image_id in known if image_id.startswith(f"{side}/")}
        for name, outlines in read(path).items():
            if name not in ids:
                raise DataError(
                    f"{path}: image {name!r} is not in CheXpert's table of {side}: put the files of one edition there"
                )
            outlined[ids[name]] = outlines
    if not files:
        return None, {}
    there = frozenset(there)
    kept = {image_id: outlines for image_id, outlines in outlined.items() if image_id in there}
    counted = {CLIPPED: sum(each.clipped for each in kept.values()), NOT_THERE: len(outlined) - len(kept)}

    def masks(image_id: str) -> Mapping[str, np.ndarray]:
        if image_id not in there:
            raise DataError(f"{image_id!r} is no image of this table of CheXpert")
        return kept[image_id].masks() if image_id in kept else {}

    return masks, counted


def name_of(image_id: str) -> str:
    """Return an image's name in the files: valid/patient1/study1/view1_frontal.jpg is patient1_study1_view1_frontal."""
    return "_".join(PurePosixPath(image_id).with_suffix("").parts[1:])


def read(path: Path) -> dict[str, Outlined]:
    """Return the images of a file by name.

    Raises:
        DataError: if the file is not of this layout (with the image, finding and polygon), has a finding that is not
            one of FINDINGS, a polygon of fewer than three corners, or one that lies outside its image altogether.
    """
    try:
        check_regular(path)
        content = read_json(path)
    except RecursionError as error:
        raise DataError(f"{path}: nested too deeply for a file of CheXlocalize") from error
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file ({error.__cause__}); download it from CheXlocalize again") from error
    except OSError as error:
        raise (StorageError if is_of_storage(error) else DataError)(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a JSON object of images is needed, not {type(content).__name__}")
    return {name: _outlined(f"{path}, image {name!r}", outlines) for name, outlines in content.items()}


def _outlined(where: str, content: Any) -> Outlined:
    if not isinstance(content, dict):
        raise DataError(f"{where}: a JSON object of findings is needed, not {type(content).__name__}")
    height, width = _size(where, content.get(_SIZE))
    polygons: dict[str, list[Polygon]] = {}
    for written, drawn in content.items():
        finding = SPELLINGS.get(written, written)
        if written == _SIZE:
            continue
        if finding not in FINDINGS:
            raise DataError(f"{where}: no finding {written!r}; there are {', '.join(FINDINGS)}")
        if finding in polygons:
            raise DataError(f"{where}: {finding!r} is there twice, in two spellings; keep one of them")
        if not isinstance(drawn, list):
            raise DataError(f"{where}, {written}: a list of polygons is needed, not {drawn!r:.60}")
        polygons[finding] = [
            _polygon(f"{where}, {written}, polygon {number}", corners, height, width)
            for number, corners in enumerate(drawn, 1)
        ]
    return Outlined(height, width, polygons)


def _size(where: str, size: Any) -> tuple[int, int]:
    whole = isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    if not whole:
        raise DataError(f"{where}: img_size must be [height, width] in whole pixels, not {size!r:.60}")
    try:
        check_shape(*size)
    except DataError as error:
        raise DataError(f"{where}: img_size {error}") from error
    return size[0], size[1]


def _polygon(where: str, corners: Any, height: int, width: int) -> Polygon:
    if not isinstance(corners, list) or not all(map(_is_point, corners)):
        raise DataError(f"{where}: a polygon is a list of corners [x, y], two finite numbers each")
    if len(corners) < _CORNERS:
        raise DataError(f"{where}: {len(corners)} corners enclose no area; draw at least {_CORNERS} or remove it")
    x, y = zip(*corners, strict=True)
    if max(x) < 0 or max(y) < 0 or min(x) > width or min(y) > height:
        raise DataError(f"{where}: lies outside the image, which is {width} px wide and {height} px high")
    return [(float(across), float(down)) for across, down in corners]


def _is_point(corner: Any) -> bool:
    return (
        isinstance(corner, list)
        and len(corner) == 2
        and all(type(value) in (int, float) and abs(value) < 1e6 and math.isfinite(value) for value in corner)
    )
