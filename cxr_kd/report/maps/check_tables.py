"""What checks the maps themselves: agreement with the teacher, faithfulness, the chest drain, the form of map.

The frames are those of `explanation.map_tables`: file name -> table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cxr_kd.explanation.measures import DRAIN_KINDS, PAINTED_OUT, RANDOM
from cxr_kd.report.style import ArmStyle
from cxr_kd.report.tables import DASH, Cell, Table, estimate

Frames = Mapping[str, pd.DataFrame]
Styles = Mapping[str, ArmStyle]
AGREEMENT = {"rank": "Rank correlation", "top": "IoU of the top 10 %", "distance": "Distance of centres (lower: alike)"}
FAITHFUL = {
    "deletion": "Deletion (lower)",
    "insertion": "Insertion",
    "road": "ROAD",
    "randomised_rank": "Scrambled (lower)",
    "stable": "Stable",
}

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


def placement_table(frames: Frames, styles: Styles) -> Table:
    """Return one row per network: the pointing game again if cells stood where they look, and with others' maps."""
    maps, looks = frames["maps.csv"], frames["thresholds.csv"]
    overall = maps[maps["by"] == "all"]
    cells = {(row["arm"], row["measure"]): row for row in overall.to_dict("records")}
    rows = []
    for arm, style in styles.items():
        own = looks[looks["arm"] == arm]
        if len(own) and (arm, "moved") in cells:
            away = [f"{own[column].mean():+.0f}" for column in ("down_px", "right_px")]
            drawn, moved, beyond = (bounds(cells[arm, measure]) for measure in ("pointing", "moved", "specific"))
            values = (estimate(*drawn), estimate(*moved), estimate(*beyond, signed=True))
            rows.append([Cell(style.label, style=style), *away, *values])
    note = (
        "A cell of a map is drawn at its place on the grid. The pixels that it depends on may lie elsewhere: the "
        "columns say how far, in px down and right of there, on validation images, mean over seeds (centre of mass of "
        "the squared gradient of the middle cells). Moved: the pointing game of the same maps, moved by that much. A "
        "difference that holds only for maps as drawn is one of the grid, not of the networks. The last column is the "
        "pointing game minus that of the same network's maps of other patients with the same finding. Values: "
        "explanations/thresholds.csv and maps.csv."
    )
    heads = ("Network", "Cells look: px down", "px right", "Pointing game, as drawn", "moved to where they look",
             "Beyond other patients' maps")  # fmt: skip
    return Table("Is it the place of the cells, or the usual place of the finding?", heads, rows, note)


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


def faithful_table(frames: Frames, styles: Styles) -> Table:
    """Return one row per network, and the random map: whether the network needs what its maps mark."""
    cells = {(row["arm"], row["measure"]): row for row in frames["faithful.csv"].to_dict("records")}
    heads = [*((arm, Cell(style.label, style=style)) for arm, style in styles.items() if (arm, "road") in cells)]
    heads.append((RANDOM, Cell("Control: random map")))
    rows = [
        [head, *(estimate(*bounds(cells[arm, measure]), signed=measure == "road") for measure in FAITHFUL)]
        for arm, head in heads
    ]
    first = cells[heads[0][0], "deletion"]
    note = (
        "Deletion: mean probability of the finding while the marked pixels are blurred first (lower is better). "
        "Insertion: while they are made sharp first (higher). ROAD: the same with pixels that are replaced by what "
        "their neighbours predict (higher; about 0 for a random map). Scrambled: rank correlation with the map of the "
        "same network with random weights (lower: a map that stays when the network is scrambled is no explanation). "
        f"Stable: rank correlation after the image is moved by 2 % (higher). {first['pairs']:,} random pairs, ROAD "
        f"fewer; 95 % intervals over {first['interval']}. The random map is asked of the last network. Values: "
        "explanations/faithful.csv."
    )
    return Table("Are the maps faithful and stable?", ("Network", *FAITHFUL.values()), rows, note)


def drain_table(frames: Frames, styles: Styles) -> Table | None:
    """Return one row per network: evidence on the chest drain, and the drain's effect on the logit; None without."""
    frame = frames["drain.csv"]
    cells = {(row["arm"], row["kind"], row["measure"]): row for row in frame.to_dict("records")}
    shown = [style for arm, style in styles.items() if any(key[0] == arm for key in cells)]
    if not shown:
        return None
    asked = [(PAINTED_OUT, "drain_share", False), (PAINTED_OUT, "drain_area", False),
             (PAINTED_OUT, "ideal_drain_share", False), (PAINTED_OUT, "pneumothorax_share", False),
             *((kind, "drain_effect_sd", True) for kind in DRAIN_KINDS)]  # fmt: skip

    def cell(style: ArmStyle, kind: str, measure: str, signed: bool) -> Cell | str:
        row = cells.get((style.arm, kind, measure))
        return estimate(*bounds(row), signed=signed) if row else DASH

    rows = [[Cell(style.label, style=style), *(cell(style, *each) for each in asked)] for style in shown]
    counts = {kind: next((r["pairs"] for (_, k, _), r in cells.items() if k == kind), 0) for kind in DRAIN_KINDS}
    note = (
        "A chest drain treats a pneumothorax, so a network can call treated ones by the drain (a shortcut). Each image "
        "is drawn twice, with and without its drain. Evidence on the drain: share of the evidence for pneumothorax, "
        "beside the drain's share of the image (chance), and what a map of exactly the pneumothorax would have there, "
        "because the drain lies partly in it. Effect: the logit with the drain minus the logit without it, in standard "
        "deviations of the network's logits of images with neither; 0: the network ignores the drain. Images: "
        f"{', '.join(f'{kind} {count:,}' for kind, count in counts.items())}. "
        "Values: explanations/drain.csv."
    )
    heads = ("Network", "Evidence on the drain", "Chance", "Of a map of the pneumothorax",
             "Evidence on the pneumothorax", *(f"Effect: {kind}" for kind in DRAIN_KINDS))  # fmt: skip
    return Table("Does the network look at the chest drain?", heads, rows, note)


def form_table(frames: Frames, styles: Styles) -> Table | None:
    """Return the forms of map that were compared on validation images, a row each; None without marks."""
    frame = frames["forms.csv"]
    if frame.empty:
        return None
    rows, shown = [], [arm for arm in styles if arm in set(frame["network"])]
    for (form, reading), own in frame.groupby(["form", "reading"], sort=False):
        cells = sorted({int(cells) for cells in own["cells"]})
        means = (f"{own[measure].mean():.3f}" for measure in ("pointing", "inside", "empty"))
        of_network = dict(zip(own["network"], own["pointing"], strict=True))
        hits = (f"{of_network[arm]:.3f}" if arm in of_network else DASH for arm in shown)
        chosen = bool(own["chosen"].any())
        name = Cell(FORM_TITLES.get(str(form), str(form)), "chosen" if chosen else "", strong=chosen)
        grid = " or ".join(f"{each} x {each}" for each in cells)
        rows.append([name, READINGS[str(reading)], grid, *means, *hits])
    note = (
        "On marked validation images, first seed: means over the study's networks, then the pointing game of each. One "
        "form is used for all networks: the one that the study names, or that with the highest sum of mean pointing "
        "game and evidence inside. Empty: share of maps without any evidence. Values: explanations/forms.csv."
    )
    columns = ("Map", "Evidence is", "Cells", "Pointing game, mean", "Evidence inside, mean", "Empty",
               *(styles[arm].label for arm in shown))  # fmt: skip
    return Table("Which form of map finds the most", columns, rows, note, frozenset({0, 1, 2}))


def bounds(row: Mapping[Any, Any]) -> tuple[float, float, float]:
    """Return the estimate of a row and its interval."""
    return float(row["estimate"]), float(row["low"]), float(row["high"])
