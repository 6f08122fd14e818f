"""Which images the detector of exported files refuses, on real radiographs: five random splits by patient.

    python simulations/unfamiliar_images.py studies/chestxray14-real.yaml ../shared/data/chestxray14-real224

For each split, the detector is fitted as a study fits it (`cxr_kd/device/familiar.py`), and the test images and the
wrong images that are made from them are counted as in a study's familiar.csv. The table pools the five test sides:
images, how many of them are refused, the share, and the lowest and the highest share of a single split.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_kd.data.prepare import decoded, read_and_split
from cxr_kd.data.splits import SIDES
from cxr_kd.device.familiar import features, fit
from cxr_kd.device.familiar_table import MOST, rates
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.evaluation.resampling import spread
from cxr_kd.study import Study, load_study

SPLITS = 5
BLOCK = 256  # images in memory at a time


def rates_of_split(study: Study, root: Path, seed: int) -> pd.DataFrame:
    """Return the table of a study's familiar.csv for the split with this seed."""
    settings = study.data.model_copy(update={"split_seed": seed})
    data = decoded(study, *read_and_split(settings, root, progress=False), progress=False)
    found = {side: np.concatenate([features(pixels) for pixels in data.pixels(side, BLOCK)]) for side in SIDES}
    ages = data.table.frame.set_index("image_id")["age"].astype(float)
    fitted = fit(found, ages.loc[list(data.split.train)].to_numpy(), study.image_size, no_predictions(study))
    some = data.cache.pixels(spread(data.cache.rows(data.split.test), MOST))
    return rates(fitted, fitted.distances_of(found["test"]), ages.loc[list(data.split.test)].to_numpy(), some)


def no_predictions(study: Study) -> Predictions:
    """Return predictions that only name a run: no network is needed here."""
    told = {"study": study.name, "dataset": study.data.dataset, "kind": "own", "run": "none", "network": "none",
            "split": study.data.split, "split_sha256": "", "split_sides": {}, "side": "validation",
            "findings": ("none",)}  # fmt: skip
    nothing = np.zeros((1, 1))
    return Predictions.from_arrays(["i"], ["p"], nothing, nothing, PredictionsMetadata.model_validate(told))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a study file, for the size of images and how they are decoded")
    parser.add_argument("data", type=Path, help="the folder of its data set")
    told = parser.parse_args()
    study = load_study(told.study)
    tables = [rates_of_split(study, told.data, seed).assign(split=seed) for seed in range(SPLITS)]
    pooled = pd.concat(tables).groupby("images", sort=False).agg(
        n=("n", "sum"), refused=("refused", "sum"), lowest=("share", "min"), highest=("share", "max")
    )  # fmt: skip
    pooled.insert(2, "share", pooled["refused"] / pooled["n"])
    print(pooled.round(4).to_string())


if __name__ == "__main__":
    main()
