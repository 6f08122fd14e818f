"""PNG files of all kinds, whose greys the page must decode as Python does."""

from pathlib import Path

import numpy as np
from PIL import Image


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


def coloured(image: np.ndarray) -> np.ndarray:
    """Return an image whose three channels differ."""
    return np.stack([image, 255 - image // 2, image // 3 * 2], axis=2)
