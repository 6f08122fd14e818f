"""The measures of maps for the report and notebook 06_explain: the answer and the tables.

The frames are those of `explanation.map_tables`: file name -> table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cxr_kd.evaluation.mrmc import OVER_PATIENTS
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.explanation.map_tables import SIZES
from cxr_kd.explanation.measures import CEILING, MEAN_PLACE, RANDOM
from cxr_kd.report.style import ArmStyle, finding_name
from cxr_kd.report.tables import DASH, Cell, Table, estimate, estimate_text, p_text

Frames = Mapping[str, pd.DataFrame]
Styles = Mapping[str, ArmStyle]
# Column of the tables -> its head. Higher is better, except where the head says otherwise.
MEASURES = {
    "pointing": "Pointing game",
    "inside": "Evidence inside",
    "iou": "IoU",
    "auprc": "AUPRC of pixels",
}
AGREEMENT = {"rank": "Rank correlation", "top": "IoU of the top 10 %", "distance": "Distance of centres (lower: alike)"}
CONTROL_NAMES = {
    "random map": "Random map",
    "image centre": "Image centre",
    "mean place": "Mean place of the finding",
    "edges": "Edges of the image",
    "random weights": "Student with random weights",
}
HOW_TO_READ = (
    "Pointing game: share of maps whose highest value lies on the finding. Evidence inside: share of a map's evidence "
    "that lies on the finding. IoU: overlap of finding and the region above a threshold that was chosen on validation "
    "images. AUPRC: how well the order of the pixels separates finding from background. All are from 0 to 1; higher "
    "is better. The controls know nothing of the image's findings. The mean place of the finding is the strongest: "
    "some findings, such as a large heart, are always at the same place, and a map can be right there without looking. "
    "What a network sees in the single image shows in findings whose place varies, such as a mass: see the table by "
    "finding."
)


def measured(frames: Frames) -> bool:
    """Return whether the maps could be measured against known places."""
    return not frames["maps.csv"].empty


def answer(frames: Frames, styles: Styles) -> str:
    """Return in a sentence or two how often each network's map peaks on the finding, and the best control."""
    rows = overall(frames, "pointing")
    if not rows:
        return ""
    networks = [f"{style.label} {estimate_text(*bounds(rows[arm]))}" for arm, style in styles.items() if arm in rows]
    best = max((name for name in CONTROL_NAMES if name in rows), key=lambda name: rows[name]["estimate"])
    share = next(iter(rows.values()))
    return (
        f"The highest value of a map lies on the finding in this share of {share['pairs']:,} pairs of an image and a "
        f"finding, from {share['patients']:,} patients (pointing game): {'; '.join(networks)}. The best control, "
        f"{CONTROL_NAMES[best].lower()}, has {estimate_text(*bounds(rows[best]))}; a random map "
        f"{estimate_text(*bounds(rows[RANDOM]))}."
    )


def headline_table(frames: Frames, styles: Styles) -> Table:
    """Return one row per network, then the controls and the best that the grid allows; one column per measure."""
    values = {measure: overall(frames, measure) for measure in MEASURES}
    names = values["pointing"]
    rows: list[list[Any]] = []
    heads = [(arm, Cell(style.label, style=style)) for arm, style in styles.items() if arm in names]
    heads += [
        (name, Cell(f"Control: {text[:1].lower()}{text[1:]}")) for name, text in CONTROL_NAMES.items() if name in names
    ]
    heads += [(CEILING, Cell("Best that the grid allows"))]
    for name, head in heads:
        rows.append([head, *(estimate(*bounds(values[measure][name])) for measure in MEASURES)])
    first = names[next(iter(names))]
    note = (
        f"{HOW_TO_READ} Mean over {first['pairs']:,} pairs of an image and a finding in it, {first['patients']:,} "
        f"patients; 95 % intervals over {first['interval']}, of controls over patients. Values: explanations/maps.csv."
    )
    return Table("Where each network looks", ("Network", *MEASURES.values()), rows, note)


def group_table(frames: Frames, styles: Styles, by: str, measure: str = "pointing") -> Table:
    """Return one row per finding or size of finding (`by`), one column per network, for one measure."""
    frame = frames["maps.csv"]
    own = frame[(frame["by"] == by) & (frame["measure"] == measure)]
    cells = {(row["arm"], row["group"]): row for row in own.to_dict("records")}
    groups = [name for _, name in SIZES] if by == "size" else sorted(set(own["group"]))
    shown = [*(arm for arm in styles if arm in set(own["arm"])), MEAN_PLACE, CEILING]
    shown = [arm for arm in shown if arm in set(own["arm"])]
    rows = []
    for group in (group for group in groups if (shown[0], group) in cells):
        first = cells[shown[0], group]
        head = Cell(f"{group} of the image" if by == "size" else finding_name(group))
        counts = Cell(f"{first['pairs']:,}", f"{first['patients']:,} patients")
        rows.append([head, counts, *(estimate(*bounds(cells[arm, group])) for arm in shown)])
    names = [styles[arm].label if arm in styles else CONTROL_NAMES.get(arm, "Best of the grid") for arm in shown]
    what = "size of the finding" if by == "size" else "finding"
    caption = f"{MEASURES[measure]} by {what}, 95 % intervals"
    return Table(caption, (what[:1].upper() + what[1:], "Pairs", *names), rows, "Values: explanations/maps.csv.")


def difference_table(frames: Frames, labels: Mapping[str, str]) -> Table | None:
    """Return one row per pair of compared arms and measure; None without any. `labels`: arm -> its name."""
    rows = []
    for row in frames["differences.csv"].to_dict("records"):
        names = f"{labels[row['second']]} minus {labels[row['first']]}"
        measure = MEASURES.get(row["measure"], "Rank correlation with the teacher's map")
        verdict = "not tested: one training" if row["interval"] == OVER_PATIENTS else "yes" if row["shown"] else "no"
        value = estimate(row["difference"], row["low"], row["high"], signed=True)
        rows.append([names, measure, value, p_text(row["p_holm"]), verdict])
    note = (
        f"Paired over the same images and trainings. p is corrected (Holm) for the {len(rows)} rows; a difference with "
        f"p below {ALPHA:g} is shown. Values: explanations/differences.csv."
    )
    columns = ("Compared", "Measure", "Difference", "p, corrected", "Shown?")
    found = Table("What distillation did to the maps", columns, rows, note, frozenset({0, 1, 4}), frozenset({0}))
    return found if rows else None


def agreement_table(frames: Frames, styles: Styles) -> Table | None:
    """Return three rows per student and teacher: agreement of maps, between chance and another seed; None without."""
    frame = frames["likeness.csv"]
    cells = {(r["arm"], r["of"], r["with"], r["measure"]): r for r in frame.to_dict("records")}
    rows = []
    pairs = frame.loc[frame["with"] == "teacher", ["arm", "of"]].drop_duplicates().itertuples(index=False)
    for arm, teacher in pairs:
        if arm not in styles or teacher not in styles:
            continue
        for measure, name in AGREEMENT.items():
            floor, own = (cells[arm, teacher, kind, measure] for kind in ("chance", "teacher"))
            again = cells.get((arm, arm, "other seed", measure))
            rows.append(
                [
                    Cell(styles[arm].label, style=styles[arm]) if measure == "rank" else "",
                    styles[teacher].label if measure == "rank" else "",
                    name,
                    *(estimate(*bounds(each)) if each else DASH for each in (floor, own, again)),
                ]
            )
    if not rows:
        return None
    seeds = any(key[2] == "other seed" for key in cells)
    note = (
        "Read the agreement between its floor and its ceiling. Floor: the teacher's maps of other patients and other "
        "findings. Ceiling: the maps of the same network, trained with another seed. "
        + ("" if seeds else "This study has one seed, so there is no ceiling. ")
        + "Values: explanations/likeness.csv."
    )
    columns = ("Network", "Compared with", "Measure", "Floor: chance", "Agreement", "Ceiling: another seed")
    texts = frozenset({0, 1, 2})
    return Table("Does the student look where its teacher looks?", columns, rows, note, texts, texts)


def form_table(frames: Frames) -> Table | None:
    """Return the forms of map that were compared on validation images: means over the networks; None without marks."""
    frame = frames["forms.csv"]
    if frame.empty:
        return None
    rows = []
    for (form, reading), own in frame.groupby(["form", "reading"], sort=False):
        cells = sorted({int(cells) for cells in own["cells"]})
        means = (f"{own[measure].mean():.3f}" for measure in ("pointing", "inside", "auprc", "empty"))
        chosen = bool(own["chosen"].any())
        name = Cell(FORM_TITLES.get(str(form), str(form)), "chosen" if chosen else "", strong=chosen)
        rows.append([name, READINGS[str(reading)], " or ".join(f"{n} x {n}" for n in cells), *means])
    note = (
        "Means over the study's networks, first seed, on marked validation images. The highest sum of pointing game "
        "and evidence inside is chosen, for all networks alike. Empty: share of maps without any evidence. Values: "
        "explanations/forms.csv."
    )
    columns = ("Map", "Evidence is", "Cells", "Pointing game", "Evidence inside", "AUPRC", "Empty")
    return Table("Which form of map finds the most", columns, rows, note, frozenset({0, 1, 2}))


FORM_TITLES = {
    "plain": "The network's own grid",
    "atrous2": "À trous, 2 times finer",
    "atrous4": "À trous, 4 times finer",
    "shift2": "Shift-and-stitch, 2 times finer",
    "shift4": "Shift-and-stitch, 4 times finer",
    "layercam16": "LayerCAM at stride 16",
    "layercam8": "LayerCAM at stride 8",
}
READINGS = {"positive": "what is above 0", "relative": "what is above the map's mean"}


def tables(frames: Frames, styles: Styles, labels: Mapping[str, str]) -> Sequence[Table]:
    """Return all tables, the first of them the one that the others detail."""
    own = [headline_table(frames, styles)] if measured(frames) else []
    by_group = [group_table(frames, styles, by) for by in ("size", "finding")] if own else []
    optional = [difference_table(frames, labels), agreement_table(frames, styles), *by_group, form_table(frames)]
    return [*own, *(table for table in optional if table is not None)]


def overall(frames: Frames, measure: str) -> dict[str, dict[str, Any]]:
    """Return the row of each network, control and ceiling over all pairs, by its name."""
    frame = frames["maps.csv"]
    rows = frame[(frame["by"] == "all") & (frame["measure"] == measure)].to_dict("records")
    return {str(row["arm"]): {str(key): value for key, value in row.items()} for row in rows}


def bounds(row: Mapping[Any, Any]) -> tuple[float, float, float]:
    """Return the estimate of a row and its interval."""
    return float(row["estimate"]), float(row["low"]), float(row["high"])
