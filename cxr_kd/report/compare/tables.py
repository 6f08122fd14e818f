"""Tables of several studies side by side: their networks, what differs between them, and the settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.evaluation.between_studies import Network
from cxr_kd.evaluation.bootstrap import MEAN, METRICS
from cxr_kd.evaluation.mrmc import OVER_BOTH, OVER_PATIENTS
from cxr_kd.explanation.map_tables import FOLDER
from cxr_kd.report.ablation import weights_text
from cxr_kd.report.headline import FEW_PATIENTS
from cxr_kd.report.maps.check_tables import FORM_TITLES, READINGS, bounds
from cxr_kd.report.maps.views import overall
from cxr_kd.report.study_files import read_cost, read_maps
from cxr_kd.report.style import style_of
from cxr_kd.report.tables import DASH, Cell, Table, estimate, p_text, records, thread_count
from cxr_kd.report.wording import counted, listed
from cxr_kd.study import Study
from cxr_kd.study.runs import Run

Cards = Mapping[str, Mapping[str, Mapping[str, Any]]]  # study -> run -> run card
SHOWN, NOT_SHOWN, NOT_TESTED = "shown", "not shown", "not tested: one training"
TOO_FEW, NO_SEED = "too few patients", "no seed in common"


def networks_frame(
    networks: Sequence[Network], studies: Sequence[Study], cards: Cards, evaluations: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per network: how it was trained, its results, and its cost. Maps and latency may be missing (NaN).

    `evaluations`: `arm_tables.evaluate_arms`, whose arms are the names of the networks.
    """
    means = records(evaluations[evaluations["finding"] == MEAN], "arm")
    device, maps = _latencies(studies), _pointing(studies)
    rows = []
    for network in networks:
        own, style = (
            [cards[network.study.name][run.name] for run in network.runs],
            style_of(network.arm, network.runs[0]),
        )
        mean, run = means[network.name], network.runs[0]
        rows.append({
            "network": network.name, "label": style.label, "studies": " ".join(network.studies), "role": run.role,
            "teacher": style.teachers, "objective": _objective(network.study, run),
            "views": run.views if run.teacher else np.nan,
            "epochs_low": min(card["epochs"] for card in own), "epochs_high": max(card["epochs"] for card in own),
            "seeds": " ".join(map(str, network.seeds)), "parameters": own[0]["parameters"],
            "left_out": mean["left_out"], "interval": mean["interval"],
            **{f"{metric}{end}": mean[f"{metric}{end}"] for metric in METRICS for end in ("", "_low", "_high")},
            **_first(maps, network), **_first(device, network),
        })  # fmt: skip
    columns = ("pointing", "pointing_low", "pointing_high", "latency_ms_median", "latency_ms_p25", "latency_ms_p75")
    texts = ("maps", "measured_on")
    frame = pd.DataFrame(rows)
    frame = frame.reindex(columns=list(dict.fromkeys([*frame.columns, *columns, *texts])))
    return frame.assign(**{name: frame[name].fillna("") for name in texts})


def networks_table(frame: pd.DataFrame, networks: Sequence[Network]) -> Table:
    """Return `networks_frame` as a table."""
    rows = []
    for network, row in zip(networks, records(frame, "network").values(), strict=True):
        quartiles = f"({row['latency_ms_p25']:.1f}{DASH}{row['latency_ms_p75']:.1f})"
        measured = pd.notna(row["latency_ms_median"])
        epochs = dict.fromkeys((row["epochs_low"], row["epochs_high"]))
        views = Cell(row["objective"] or DASH, "" if pd.isna(row["views"]) else counted(int(row["views"]), "view"))
        rows.append([
            Cell(row["label"], style=style_of(network.arm, network.runs[0])), listed(network.studies),
            *(estimate(*(row[f"{metric}{end}"] for end in ("", "_low", "_high"))) for metric in (*METRICS, "pointing")),
            Cell(f"{row['latency_ms_median']:.1f}", quartiles) if measured else DASH,
            f"{row['parameters'] / 1e6:.2f}", row["role"], row["teacher"] or DASH, views,
            DASH.join(f"{count:g}" for count in epochs), ", ".join(map(str, network.seeds)),
        ])  # fmt: skip
    columns = ("Network", "Studies", "Mean AUROC", "Mean average precision", "Pointing game",
               "Latency (ms; median, quartiles)", "Parameters (million)", "Role", "Teacher", "Losses and their weights",
               "Epochs", "Seeds")  # fmt: skip
    texts = frozenset({0, 1, 7, 8, 9, 11})
    return Table(
        "The networks of all studies", columns, rows, _networks_note(frame, networks), texts, frozenset({1, 9})
    )


def difference_table(
    comparisons: pd.DataFrame, networks: Sequence[Network], reference: Network, patients: int
) -> Table:
    """Return one row per network: its mean AUROC minus the reference's, p, and whether the difference is shown."""
    means = records(comparisons[comparisons["finding"] == MEAN], "second")
    rows = [
        _difference_row(network, means.get(network.name), patients) for network in networks if network is not reference
    ]
    tested = int(comparisons.loc[comparisons["finding"] == MEAN, "auroc_p"].notna().sum())
    corrected = f"Corrected (Holm) for {counted(tested, 'comparison')}. " if tested else ""
    note = (
        f"Network minus reference, over the same patients, seed by seed for the seeds that both have (trainings "
        f"compared). {corrected}With several trainings the interval covers patients and trainings; with one, it covers "
        "patients only and nothing is tested."
    )
    label = f"{style_of(reference.arm, reference.runs[0]).label} ({listed(reference.studies)})"
    columns = ("Network", "Studies", "Difference of mean AUROC", "Is the difference shown?", "p, corrected", "p",
               "Trainings compared")  # fmt: skip
    return Table(f"Each network against the reference, {label}", columns, rows, note, frozenset({0, 1, 3}))


def _difference_row(network: Network, row: Mapping[str, Any] | None, patients: int) -> list[Any]:
    head = [Cell(style_of(network.arm, network.runs[0]).label, style=style_of(network.arm, network.runs[0])),
            listed(network.studies)]  # fmt: skip
    if row is None:
        return [*head, DASH, verdict(row, patients), DASH, DASH, "0"]
    change = estimate(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True)
    tested = [verdict(row, patients), p_text(row["auroc_p_holm"]), p_text(row["auroc_p"])]
    return [*head, change, *tested, str(int(row["seeds"]))]


def verdict(row: Mapping[str, Any] | None, patients: int) -> str:
    """Return whether a difference is shown, in words; `row` is that of the mean, or None without a common seed."""
    if row is None:
        return NO_SEED
    if row["left_out"]:
        return DASH
    if row["interval"] == OVER_PATIENTS:
        return NOT_TESTED
    return TOO_FEW if patients < FEW_PATIENTS else SHOWN if row["shown"] else NOT_SHOWN


def settings_table(differing: Mapping[str, Sequence[str]], names: Sequence[str]) -> Table | None:
    """Return one row per setting that differs and one column per study; None if no setting differs."""
    rows = [[setting, *(value or DASH for value in values)] for setting, values in differing.items()]
    columns, texts = ("Setting", *names), frozenset(range(len(names) + 1))
    note = (
        f"As the study files have them, defaults included. {DASH}: the study has no such setting, teacher or "
        "student. Teachers and students that only some studies have are in the table of networks."
    )
    return Table("Settings that differ", columns, rows, note, texts, texts - {0}) if rows else None


def _networks_note(frame: pd.DataFrame, networks: Sequence[Network]) -> str:
    """What the intervals cover, and where maps and latencies are from."""
    covered = set(frame["interval"])
    once = "; those of networks that were trained once, over patients only" if len(covered) > 1 else ""
    texts = [f"95 % intervals over {OVER_BOTH if once else covered.pop()}{once}."]
    if any(len(network.studies) > 1 for network in networks):
        texts.append("A run that several studies share is listed once; its numbers are from the first of them.")
    for column, what, advice in (
        ("maps", "Pointing game", "it can be compared only between networks with the same kind of map"),
        ("measured_on", "Latency", "it can be compared only between networks that were measured on the same processor"),
    ):
        kinds = [text for text in dict.fromkeys(frame[column]) if text]
        if len(kinds) == 1:
            texts.append(f"{what}: {kinds[0]}.")
        elif kinds:
            each = "; ".join(
                f"{kind} for {listed(list(frame.loc[frame[column] == kind, 'network']))}" for kind in kinds
            )
            texts.append(f"{what}: {each}. So {advice}.")
    if (frame[["maps", "measured_on"]] == "").any(axis=None):
        texts.append(f"{DASH}: not measured (notebooks 06_explain and 07_device measure maps and latency).")
    return " ".join(texts)


def _objective(study: Study, run: Run) -> str:
    """The losses of a run with their weights, or the published weights that a teacher is."""
    return "published weights" if study.published_weights(run) else weights_text(run, run.losses)


def _first(found: Mapping[tuple[str, str], Mapping[str, Any]], network: Network) -> Mapping[str, Any]:
    """What the first study that measured a network says of it; {} if none did."""
    return next((found[key] for name in network.studies if (key := (name, network.arm)) in found), {})


def _latencies(studies: Sequence[Study]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for study in studies:
        if (study.runs_folder / "device.csv").is_file():
            for arm, row in records(read_cost(study), "arm").items():
                latency = {f"latency_ms_{part}": row[f"latency_ms_{part}"] for part in ("median", "p25", "p75")}
                where = f"{row['cpu']}, {thread_count(row['threads'])}"
                found[study.name, arm] = {**latency, "measured_on": where}
    return found


def _pointing(studies: Sequence[Study]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for study in studies:
        if (study.runs_folder / FOLDER / "maps.csv").is_file():
            frames = read_maps(study)
            chosen = frames["forms.csv"][frames["forms.csv"]["chosen"]]
            for arm, row in overall(frames, "pointing").items() if len(chosen) else ():
                form, reading = chosen.iloc[0][["form", "reading"]]
                how = f"{FORM_TITLES.get(form, form)} (evidence: {READINGS[reading]})"
                value = dict(zip(("pointing", "pointing_low", "pointing_high"), bounds(row), strict=True))
                found[study.name, arm] = {**value, "maps": how}
    return found
