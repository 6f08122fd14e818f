"""The table of the detector in the exported files: which images does it refuse, rightly or wrongly?"""

from __future__ import annotations

import pandas as pd

from cxr_kd.report.tables import DASH, Cell, Table

COLUMNS = ("Images", "Must be refused", "Refused", "Share (95 % interval)", "Median distance (limit: 1)")
_ASKED = {"no": "no", "yes": "yes", "open": DASH}


def familiar_table(rates: pd.DataFrame) -> Table:
    """Return how many radiographs and how many wrong images are refused; `rates`: the rows of familiar.csv."""
    rows = [
        [
            Cell(row["images"], strong=row["told"] == "no"),
            _ASKED[row["told"]],
            f"{row['refused']:,} of {row['n']:,}",
            Cell(f"{row['share']:.3f}", f"({row['low']:.3f}{DASH}{row['high']:.3f})"),
            f"{row['median_distance']:.2f}",
        ]
        for row in rates.to_dict("records")
    ]
    if rates.empty:
        note = "There were too few images to fit this: the exported files refuse no image."
        return Table("Which images the exported files refuse", COLUMNS, [], note)
    first = rates.iloc[0]
    note = (
        f"Fitted on {int(first['train_images']):,} training images; the limit is from "
        f"{int(first['validation_images']):,} validation images, and accepts at least {first['limit_share']:.1%} of "
        "new images of the same source on average. Wilson's intervals, as if all images were of different patients. "
        "Wrong images are made from test images by a rule; photographs are those of scikit-image. Lateral views and "
        "other parts of the body were not there to be tried."
    )
    return Table("Which images the exported files refuse", COLUMNS, rows, note)
