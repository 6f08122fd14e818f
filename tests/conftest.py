import os
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_kd.data.table import CxrTable

# A shared machine may pause at any time, so the duration of an example means nothing.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")

# For root, without a graphics card, and without requests to the network.
QUIET_BROWSER = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder with real data (see its README); skip the test, with a reason, if there is none."""
    folder = Path(os.environ.get("CXR_KD_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set CXR_KD_TEST_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Yield headless Chromium, driven by Playwright; skip the test, with a reason, if there is none."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium here (Debian's package chromium)")
    with sync_playwright() as player:
        profile = str(tmp_path_factory.mktemp("profile"))
        context = player.chromium.launch_persistent_context(profile, executable_path=chromium, args=QUIET_BROWSER)
        yield context
        context.close()


@pytest.fixture
def noise_table(tmp_path: Path) -> Callable[..., CxrTable]:
    """Return a function that writes `count` small grey PNG files of noise and returns their table.

    Two images per patient, two findings.
    """

    def write(count: int, size: int = 16, folder: str = "source") -> CxrTable:
        root = tmp_path / folder
        (root / "images").mkdir(parents=True)
        generator = np.random.default_rng(count)
        names = [f"{number:05d}.png" for number in range(count)]
        for name in names:
            Image.fromarray(generator.integers(0, 256, (size, size), dtype=np.uint8)).save(root / "images" / name)
        frame = pd.DataFrame(
            {
                "image_id": names,
                "path": [f"images/{name}" for name in names],
                "patient_id": [f"p{number // 2}" for number in range(count)],
                "view": "PA",
                "age": generator.uniform(1, 90, count),
                "sex": "F",
                "Effusion": generator.integers(0, 2, count).astype(float),
                "Mass": [np.nan, *generator.integers(0, 2, count - 1).astype(float)],
            }
        )
        return CxrTable("noise", "mini", root, frame, ("Effusion", "Mass"))

    return write
