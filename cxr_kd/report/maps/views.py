"""The measures of maps for the report and notebook 06_explain: the answer and the tables.

The frames are those of `explanation.map_tables`: file name -> table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_kd.evaluation.mrmc import OVER_PATIENTS
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.explanation.map_tables import SIZES, compared_maps
from cxr_kd.explanation.measures import CEILING, MEAN_PLACE, PAINTED_OUT, RANDOM
from cxr_kd.report.maps.check_tables import (
    Frames,
    Styles,
    agreement_table,
    bounds,
    drain_table,
    faithful_table,
    form_table,
    placement_table,
)
from cxr_kd.report.style import finding_name
from cxr_kd.report.tables import DASH, Cell, Table, estimate, estimate_text, p_text
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms

# Column of the tables -> its head. Higher is better, except where the head says otherwise.
MEASURES = {
    "pointing": "Pointing game",
    "specific": "Beyond other patients' maps",
    "inside": "Evidence inside",
    "iou": "IoU",
    "auprc": "AUPRC of pixels",
}
OTHER_MEASURES = {  # of the table of differences
    "moved": "Pointing game, cells moved to where they look",
    "rank": "Rank correlation with the teacher's map",
}
CONTROL_NAMES = {
    "random map": "Random map",
    "image centre": "Image centre",
    "mean place": "Mean place of the finding",
    "edges": "Edges of the image",
    "random weights": "Student with random weights",
}
SHOWN = {  # whether the first and the second of two differences are shown
    (True, True): "Both differences are shown.",
    (True, False): "Only the first is shown.",
    (False, True): "Only the second is shown.",
    (False, False): "Neither is shown.",
}
ONE_TRAINING = "With one training each, nothing is shown."
HOW_TO_READ = (
    "Pointing game: share of maps whose highest value lies on the finding. Beyond other patients' maps: the pointing "
    "game minus that of the same network's maps of other patients with the same finding, -1 to 1. What is above 0 is "
    "due to the single image; a map that is the same for every patient has 0, however often it hits. Evidence inside: "
    "share of a map's evidence that lies on the finding. IoU: overlap of finding and the region above a threshold "
    "that was chosen on validation images. AUPRC: how well the order of the pixels separates finding from "
    "background. These are from 0 to 1. Higher is better. The controls know nothing of the image's findings. The "
    "mean place of the finding hits often without looking: some findings, such as a large heart, are always in one "
    "place."
)
HOW_TO_READ_FURTHER = (
    "ROAD: how much more the network loses with the marked pixels than with the others. Scrambled: how like the map is "
    "to that of the same network with random weights. Agreement: rank correlation with the teacher's maps, and with "
    "those of the same network trained with another seed. Drain: see the table of the chest drain."
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


def gains(frames: Frames, study: Study, labels: Mapping[str, str]) -> list[str]:
    """Return a sentence for each student with a label: how often it looks at the finding, minus the plain student."""
    frame, found = frames["differences.csv"], []
    for first, second in compared_maps(study):
        own = frame[(frame["first"] == first) & (frame["second"] == second)].set_index("measure")
        if all_arms(study)[first][0].role != "student distilled" or not {"pointing", "specific"} <= set(own.index):
            continue
        hits, beyond = (own.loc[measure].to_dict() for measure in ("pointing", "specific"))
        texts = [estimate_text(row["difference"], row["low"], row["high"], signed=True) for row in (hits, beyond)]
        one = hits["interval"] == OVER_PATIENTS
        verdict = ONE_TRAINING if one else SHOWN[bool(hits["shown"]), bool(beyond["shown"])]
        found.append(
            f"{labels[second]} minus {labels[first]}: pointing game {texts[0]}, beyond other patients' maps "
            f"{texts[1]}. {verdict}"
        )
    return found


def headline_table(frames: Frames, styles: Styles) -> Table:
    """Return one row per network, then the controls and the best that the grid allows; one column per measure."""
    values = {measure: overall(frames, measure) for measure in MEASURES}
    further = _further(frames)
    names = values["pointing"]
    rows: list[list[Any]] = []
    heads = [(arm, Cell(style.label, style=style)) for arm, style in styles.items() if arm in names]
    controls = ((name, text) for name, text in CONTROL_NAMES.items() if name in names)
    heads += [(name, Cell(f"Control: {text[:1].lower()}{text[1:]}")) for name, text in controls]
    heads += [(CEILING, Cell("Best that the grid allows"))]
    for name, head in heads:
        own = [estimate(*bounds(values[each][name]), signed=each == "specific") for each in MEASURES]
        rows.append([head, *own, *(further[what].get(name, DASH) for what in further)])
    first = names[next(iter(names))]
    note = (
        f"{HOW_TO_READ} {HOW_TO_READ_FURTHER} Mean over {first['pairs']:,} pairs of an image and a finding in it, "
        f"{first['patients']:,} patients (ROAD, scrambled and drain: fewer); 95 % intervals over {first['interval']}, "
        "of controls over patients. Values: explanations/maps.csv, faithful.csv, likeness.csv, drain.csv."
    )
    return Table("Where each network looks", ("Network", *MEASURES.values(), *further), rows, note)


def _further(frames: Frames) -> dict[str, dict[str, Cell]]:
    """The further columns of the headline table: head -> arm -> cell."""
    faithful, drain, likeness = (frames[f"{name}.csv"] for name in ("faithful", "drain", "likeness"))
    ranks = likeness[likeness["measure"] == "rank"]
    found = {
        "ROAD": faithful[faithful["measure"] == "road"],
        "Scrambled (lower)": faithful[faithful["measure"] == "randomised_rank"],
        "Agreement with teacher": ranks[ranks["with"] == "teacher"],
        "Agreement with other seed": ranks[ranks["with"] == "other seed"],
        "Evidence on drain (lower)": drain[(drain["measure"] == "drain_share") & (drain["kind"] == PAINTED_OUT)],
    }
    return {
        head: {str(row["arm"]): estimate(*bounds(row), signed=head == "ROAD") for row in frame.to_dict("records")}
        for head, frame in found.items()
        if len(frame)
    }


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
    rows, before = [], ""
    for row in frames["differences.csv"].to_dict("records"):
        pair = f"{labels[row['second']]} minus {labels[row['first']]}"
        names, before = "" if pair == before else pair, pair
        measure = MEASURES.get(row["measure"]) or OTHER_MEASURES[row["measure"]]
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


def tables(frames: Frames, styles: Styles, labels: Mapping[str, str]) -> Sequence[Table]:
    """Return all tables, the first of them the one that the others detail."""
    own = [headline_table(frames, styles)] if measured(frames) else []
    by_group = [group_table(frames, styles, by) for by in ("size", "finding")] if own else []
    optional = [
        difference_table(frames, labels),
        placement_table(frames, styles) if own else None,
        agreement_table(frames, styles),
        faithful_table(frames, styles),
        drain_table(frames, styles),
        *by_group,
        form_table(frames, styles),
    ]
    return [*own, *(table for table in optional if table is not None)]


def overall(frames: Frames, measure: str) -> dict[str, dict[str, Any]]:
    """Return the row of each network, control and ceiling over all pairs, by its name."""
    frame = frames["maps.csv"]
    rows = frame[(frame["by"] == "all") & (frame["measure"] == measure)].to_dict("records")
    return {str(row["arm"]): {str(key): value for key, value in row.items()} for row in rows}
