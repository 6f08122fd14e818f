"""What the labels of CheXpert's tables mean: 1, 0, -1 (uncertain) and blank (not mentioned in the report)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import ChexpertSettings, Uncertain

# In the order of the published tables, which is the order of every label array.
FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
NO_FINDING = "No Finding"
# The labeller sets No Finding if no observation except Support Devices is positive or uncertain (chexpert-labeler,
# stages/aggregate.py). So a row labelled No Finding says that these findings are absent, and nothing about devices.
_EXCLUDED_BY_NO_FINDING = tuple(name for name in FINDINGS if name not in (NO_FINDING, "Support Devices"))

CODES = {"1.0": 1.0, "1": 1.0, "0.0": 0.0, "0": 0.0, "-1.0": -1.0, "-1": -1.0, "": np.nan}
_MEANING = {"zeros": 0.0, "ones": 1.0, "ignore": np.nan}
_IN_WORDS = {"zeros": "taken as 0", "ones": "taken as 1", "ignore": "taken as unknown"}


def check_uncertain_for(options: ChexpertSettings) -> None:
    """Raise DataError if `uncertain_for` names something that is not a finding."""
    unknown = [name for name in options.uncertain_for if name not in FINDINGS]
    if unknown:
        raise DataError(
            f"chexpert: uncertain_for names {', '.join(map(repr, unknown))}; the findings are {', '.join(FINDINGS)}"
        )


def meanings(codes: pd.DataFrame, options: ChexpertSettings) -> pd.DataFrame:
    """Return the labels, in {1, 0, NaN}, for `codes`: 1, 0, -1 (uncertain) or NaN (blank), one column per finding.

    With `blank: zeros` every blank is 0. With `blank: ignore` a blank is unknown (NaN), except in a row labelled No
    Finding: there it is 0 for every finding that this label excludes, which is every other one but Support Devices.
    """
    labels = codes.fillna(0.0) if options.blank == "zeros" else codes.mask(_excluded(codes), 0.0)
    for finding in labels.columns:
        meaning = _MEANING[options.uncertain_for.get(finding, options.uncertain)]
        labels[finding] = labels[finding].mask(codes[finding] == -1, meaning)
    return labels


def _excluded(codes: pd.DataFrame) -> pd.DataFrame:
    """Return bool (N, L): where a label is blank and its row is labelled No Finding, which excludes the finding."""
    by_no_finding = pd.DataFrame(False, index=codes.index, columns=codes.columns)
    by_no_finding.loc[codes[NO_FINDING] == 1, list(_EXCLUDED_BY_NO_FINDING)] = True
    return by_no_finding & codes.isna()


def in_words(codes: pd.DataFrame, findings: Sequence[str], options: ChexpertSettings) -> dict[str, str]:
    """Return what a reader of the report must know about how the codes of these findings became labels."""
    excluded = int(_excluded(codes)[findings].to_numpy().sum()) if options.blank == "ignore" else 0
    codes = codes[findings]
    uncertain, blank = int((codes == -1).to_numpy().sum()), int(codes.isna().to_numpy().sum())
    others: dict[Uncertain, list[str]] = {}
    for finding, meaning in options.uncertain_for.items():
        if meaning != options.uncertain:
            others.setdefault(meaning, []).append(finding)
    but = "".join(f", but {_IN_WORDS[meaning]} for {', '.join(names)}" for meaning, names in others.items())
    return {
        "uncertain labels (-1)": f"{_IN_WORDS[options.uncertain]}{but}: {uncertain:,} of {codes.size:,} labels",
        "blank labels (not mentioned)": f"{_IN_WORDS[options.blank]}: {blank - excluded:,} of {codes.size:,} labels"
        + (f"; taken as 0, because their row is labelled {NO_FINDING}: {excluded:,}" if excluded else ""),
    }
