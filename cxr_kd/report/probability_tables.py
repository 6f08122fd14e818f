"""Tables of the probabilities: calibration, operating points, accuracy and F1, other prevalences, net benefit.

Each takes a table of `evaluation.probabilities` with the column `arm`, and shows one arm. A finding that is left out
has the reason in place of values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from cxr_kd.evaluation.probability.confusion import RAW_HALF
from cxr_kd.evaluation.probability.operating_points import RULES
from cxr_kd.report.finding_panels import covered, drawn_from, only
from cxr_kd.report.style import ArmStyle, finding_name
from cxr_kd.report.tables import FEW, FEW_POSITIVES, Cell, Table, estimate, few_note, positives_cell

METHOD_NAMES = {"raw": "raw score", "temperature": "temperature scaling", "platt": "Platt scaling",
                "prevalence": "prevalence correction"}  # fmt: skip
WHY_NOT_ACCURACY = (
    "Accuracy and F1 are printed because the paper prints them. They mislead: most images do not have a given finding, "
    "so calling nothing has a high accuracy, and both change with the prevalence and with the threshold. Compare each "
    "accuracy with that of no finding for everyone."
)
RAW_IS_NO_PROBABILITY = (
    "A raw score (the sigmoid of a logit) is not a probability of the finding, and 0.5 is not its operating point. Use "
    "the thresholds chosen on validation, or recalibrated probabilities."
)
Row = Mapping[str, Any]


def calibration_table(calibration: pd.DataFrame, style: ArmStyle) -> Table:
    """Return intercept, slope, observed / expected, calibration errors and Brier score of each finding and method."""
    rows = only(calibration, "arm", style.arm)
    columns = {
        "Intercept": lambda row: _estimate(row, "intercept", signed=True),
        "Slope": lambda row: _estimate(row, "slope"),
        "Observed / expected": lambda row: _estimate(row, "observed_expected"),
        "ECE": lambda row: _estimate(row, "ece"),
        "ECE by chance": lambda row: Cell(f"{row['ece_if_calibrated']:.3f}"),
        "Smooth ECE": lambda row: _estimate(row, "smooth_ece"),
        "Brier score": lambda row: _estimate(row, "brier"),
        "Brier skill": lambda row: _estimate(row, "brier_skill", signed=True),
    }
    note = (
        f"{_origin(rows)} ECE over {rows['binning'].iloc[0]}; by chance: what a perfectly calibrated network would "
        f"have. Best: intercept 0, slope 1, observed / expected 1, errors 0. {RAW_IS_NO_PROBABILITY}"
    )
    caption = f"Calibration of {style.label}, before and after recalibration on validation"
    return _table(caption, rows, "probabilities", "Probabilities", METHOD_NAMES, columns, note)


def operating_point_table(points: pd.DataFrame, style: ArmStyle) -> Table:
    """Return sensitivity, specificity, PPV and NPV of each finding at each operating point chosen on validation."""
    rows = only(points, "arm", style.arm)
    rows = rows[rows["rule"] != RAW_HALF]
    columns = {
        "Raw threshold": lambda row: Cell(f"{row['threshold_raw']:.3g}"),
        "Called positive": lambda row: Cell(f"{row['called']:,.0f}"),
        **{name: _of(key) for key, name in _CALLS.items()},
    }
    note = f"{_origin(rows)} Rules: {'; '.join(f'{_rule(rows, rule)}: {text}' for rule, text in RULES.items())}."
    names = {str(rule): _rule(rows, rule) for rule in RULES}
    caption = f"Operating points of {style.label}, chosen on validation"
    return _table(caption, rows, "rule", "Rule", names, columns, note)


def accuracy_table(points: pd.DataFrame, style: ArmStyle) -> Table:
    """Return accuracy and F1 of each finding at Youden's point, beside what no finding for everyone scores."""
    rows = only(only(points, "arm", style.arm), "rule", "youden")
    columns = {
        "Accuracy": lambda row: _estimate(row, "accuracy"),
        "Accuracy of no finding for everyone": lambda row: Cell(f"{row['accuracy_no_finding']:.3f}"),
        "F1": lambda row: _estimate(row, "f1"),
        "F1 of no finding for everyone": lambda row: Cell(f"{row['f1_no_finding']:.3f}"),
    }
    note = f"{_origin(rows)} {WHY_NOT_ACCURACY}"
    return _table(f"Accuracy and F1 of {style.label} at Youden's point", rows, "", "", {}, columns, note)


def raw_half_table(points: pd.DataFrame, style: ArmStyle) -> Table:
    """Return how many images a raw score of 0.5 would call positive, beside the true positives: a warning."""
    rows = only(only(points, "arm", style.arm), "rule", RAW_HALF)
    columns = {
        "Called at raw score 0.5": lambda row: Cell(f"{row['called']:,.0f}"),
        "Called / positive": lambda row: Cell(f"{row['called'] / row['positives']:.2f}"),
        "Sensitivity": lambda row: _estimate(row, "sensitivity"),
        "PPV": lambda row: _estimate(row, "ppv"),
    }
    note = f"{_origin(rows)} {RAW_IS_NO_PROBABILITY}"
    return _table(f"What a raw score of 0.5 would call: {style.label}", rows, "", "", {}, columns, note)


def predictive_value_table(values: pd.DataFrame, style: ArmStyle, rule: str = "youden", value: str = "ppv") -> Table:
    """Return PPV (or NPV: `value` npv) of each finding at other prevalences, for one rule; one column a prevalence."""
    rows = only(only(values, "arm", style.arm), "rule", rule)
    wide = _spread(rows, "at_prevalence", (value,))
    columns = {f"{100 * at:g} %": _at(f"{value}:{at}") for at in sorted(rows["at_prevalence"].unique())}
    note = (
        f"{_origin(rows)} Bayes' rule with the sensitivity and specificity of the test side. It holds where positives "
        "and negatives look as they do here."
    )
    caption = f"{value.upper()} of {style.label} at other prevalences (rule: {rule})"
    return _table(caption, wide, "", "", {}, columns, note)


def net_benefit_table(
    curves: pd.DataFrame, style: ArmStyle, thresholds: Sequence[float] = (0.02, 0.05, 0.1, 0.2), method: str = "platt"
) -> Table:
    """Return the advantage in net benefit over calling all or none, in true positives per 1,000 images.

    ReportError if the table does not have a threshold or the method.
    """
    rows = only(only(curves, "arm", style.arm), "probabilities", method)
    for at in thresholds:
        only(rows, "threshold", at)
    rows = rows[rows["threshold"].isin(thresholds) | rows["threshold"].isna()]
    wide = _spread(rows, "threshold", ("advantage",))
    columns = {f"{100 * at:g} %": _at(f"advantage:{at}", 1000) for at in thresholds}
    note = (
        f"{_origin(rows)} Probabilities: {METHOD_NAMES[method]}. Above 0: better than calling every image positive, "
        "and than calling none."
    )
    caption = f"Net benefit of {style.label} over the better of all and none, per 1,000 images, by threshold"
    return _table(caption, wide, "", "", {}, columns, note)


_FEW_NOTE = f"{FEW} Fewer than {FEW_POSITIVES} positives: intervals of so few can be too narrow."
_CALLS = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}


def _table(
    caption: str, rows: pd.DataFrame, key: str, key_name: str, names: Mapping[str, str],
    columns: Mapping[str, Callable[[Row], Cell]], note: str,
) -> Table:  # fmt: skip
    """One row per row of the frame: the finding, its positives, the name of `key` if any, and the columns."""
    lines, previous = [], ""
    for each in rows.to_dict("records"):
        row = {str(column): value for column, value in each.items()}
        name = str(row["finding"])
        counts = positives_cell(row["positives"], row["images"], _unknown(row))
        head: list[Any] = [finding_name(name), counts] if name != previous else ["", ""]
        head += [names[row[key]]] if key else []
        if row["left_out"]:
            lines.append([*head, Cell("", f"left out: {row['left_out']}", span=len(columns))])
        else:
            lines.append([*head, *(column(row) for column in columns.values())])
        previous = name
    heads = ("Finding", "Positives", *([key_name] if key else []), *columns)
    note = f"{note} {few_note(rows, _FEW_NOTE)}".strip()
    return Table(caption, heads, lines, note, text_columns=frozenset({0, 2} if key else {0}))


def _unknown(row: Row) -> str:
    return f", {int(row['unknown']):,} unknown" if row["unknown"] else ""


def _estimate(row: Row, name: str, *, signed: bool = False) -> Cell:
    return estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], signed=signed)


def _of(name: str) -> Callable[[Row], Cell]:
    return lambda row: _estimate(row, name)


def _origin(rows: pd.DataFrame) -> str:
    """The data that the table is from, and what its intervals cover."""
    return f"{drawn_from(rows)} In brackets: 95 % intervals over {covered(rows)}."


def _rule(rows: pd.DataFrame, rule: str) -> str:
    """The name of a rule with its target, e.g. sensitivity 90 %."""
    targets = rows.loc[rows["rule"] == rule, "target"].dropna()
    return f"{rule} {100 * targets.iloc[0]:g} %" if len(targets) else rule.capitalize()


def _spread(rows: pd.DataFrame, across: str, names: Sequence[str]) -> pd.DataFrame:
    """One row per finding, with the columns NAME:VALUE, and their _low and _high, for each value of `across`."""
    wide = []
    for _, part in rows.groupby("finding", sort=False):
        row = {str(k): v for k, v in part.iloc[0].items()}
        for each in part.to_dict("records"):
            for name in names:
                row |= {f"{name}:{each[across]}{end}": each[f"{name}{end}"] for end in ("", "_low", "_high")}
        wide.append(row)
    return pd.DataFrame(wide)


def _at(name: str, times: float = 1) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        value, low, high = (times * row[f"{name}{end}"] for end in ("", "_low", "_high"))
        if times == 1 or not math.isfinite(value):
            return estimate(value, low, high)
        texts = [f"{number + 0.0:.1f}".replace("-", "\N{MINUS SIGN}") for number in (value, low, high)]
        return Cell(texts[0], f"({texts[1]} to {texts[2]})")

    return cell
