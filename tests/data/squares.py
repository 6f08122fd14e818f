"""A tiny data set of bright and dark squares: 48 images of 24 patients, which a network learns in seconds."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxr_kd.data.table import CxrTable

FINDINGS = ("Bright", "Left")


def squares(folder: Path, side: int = 32) -> CxrTable:
    """Draw the images into `folder/images` (once) and return their table; `side` is a multiple of 32 px."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    random, rows = np.random.default_rng(0), []
    for number in range(48):
        bright, left = number % 2, number // 2 % 2
        pixels = random.integers(0, 60, (32, 32)) + 120 * bright
        pixels[8:24, 2:14] += 60 * left
        pixels = pixels.repeat(side // 32, axis=0).repeat(side // 32, axis=1)
        name = f"images/{number:03}.png"
        if not (folder / name).exists():
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        rows.append(
            {
                "image_id": f"{number:03}",
                "path": name,
                "patient_id": f"p{number // 2}",
                "view": "PA",
                "age": 50.0,
                "sex": "F",
                "Bright": float(bright),
                "Left": float(left),
            }
        )
    return CxrTable(dataset="squares", kind="phantom", root=folder, frame=pd.DataFrame(rows), findings=FINDINGS)
