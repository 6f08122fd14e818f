"""The ablation in sentences and tables: what each arm changes, the difference that this made, and its cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.models import registry
from cxr_kd.report.headline import FEW_PATIENTS
from cxr_kd.report.style import ArmStyle, finding_name, style_of
from cxr_kd.report.tables import DASH, Cell, Table, duration, estimate, estimate_text, p_text, records
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, compared_arms
from cxr_kd.study.runs import Run

CHANGED = "Changed"


@dataclass(frozen=True)
class Variant:
    """An arm of the ablation in the report: what it changes of the reference, as text, and how it is drawn."""

    changes: str
    style: ArmStyle


def variants_of(study: Study) -> dict[str, Variant]:
    """Return every arm of the ablation, the reference first; {} if the study has no ablation."""
    if not study.ablation:
        return {}
    arms, reference = {arm: runs[0] for arm, runs in all_arms(study).items()}, reference_run(study)
    return {arm: Variant(changes(arms[arm], reference), style_of(arm, arms[arm])) for arm in compared_arms(study)}


def reference_run(study: Study) -> Run:
    """Return the run of the ablation's reference with the first seed. ValueError if the study has no ablation."""
    if not study.ablation:
        raise ValueError(f"study {study.name} has no ablation")
    return all_arms(study)[study.ablation.reference][0]


def settings_of(run: Run) -> str:
    """Return what an ablation varies, for one run: `from DenseNet-161, focal_bce 1 + logit_mse 0.5, 4 views`."""
    return f"{_teachers(run)}, {weights_text(run, run.losses)}, {_views(run)}"


def changes(run: Run, reference: Run) -> str:
    """Return what a run changes of the reference, from the settings of both; for the reference, its settings.

    `with binary_kl 0.5 in place of logit_mse 0.5`, `1 view in place of 3`, `no teacher`
    """
    if run.arm == reference.arm:
        return f"the reference: {settings_of(run)}"
    if not run.teacher:
        return "no teacher"
    texts = [] if run.teachers == reference.teachers else [_teachers(run)]
    if run.views != reference.views:
        texts.append(f"{_views(run)} in place of {reference.views}")
    before, after = (dict(each.objective) for each in (reference, run))
    gone = [name for name in reference.losses if before[name] != after.get(name, 0)]
    new = [name for name in run.losses if after[name] != before.get(name, 0)]
    if new and gone:
        texts.append(f"with {weights_text(run, new)} in place of {weights_text(reference, gone)}")
    elif new or gone:
        texts.append(f"with {weights_text(run, new)}" if new else f"without {weights_text(reference, gone)}")
    return ", ".join(texts) or run.label


def _teachers(run: Run) -> str:
    return f"from {' and '.join(registry.info(name).title for name in run.teachers)}" if run.teachers else "no teacher"


def weights_text(run: Run, losses: Any) -> str:
    """Return these losses of a run with their weights: `focal_bce 1 + logit_mse 0.5`."""
    return " + ".join(f"{name} {run.objective[name]:g}" for name in run.objective if name in losses)


def _views(run: Run) -> str:
    return f"{run.views} view{'s' if run.views > 1 else ''}"


def answers(comparisons: pd.DataFrame, study: Study, patients: int) -> list[tuple[str, str]]:
    """Return (question, answer) for each question. An answer claims a difference only if the comparison is `shown`."""
    named = variants_of(study)
    means = comparisons[comparisons["finding"] == MEAN]
    sentences = []
    for question, rows in means.groupby("question", sort=False):
        clauses = [_clause(row, named[row["arm"]].changes, study, patients) for row in rows.to_dict("records")]
        sentences.append((str(question), f"{'. '.join(clauses)}."))
    return sentences


def _clause(row: Mapping[Any, Any], what: str, study: Study, patients: int) -> str:
    what = what[:1].upper() + what[1:]
    if row["left_out"]:
        return f"{what}: no finding has enough positives to be scored"
    change = estimate_text(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True)
    told = f"{change}, corrected p {p_text(row['auroc_p_holm'])}, {_seeds(row, study)}"
    if patients < FEW_PATIENTS:
        return f"{what}: {patients} test patients are too few to tell ({told})"
    if not row["shown"]:
        return f"{what}: no difference could be shown ({told})"
    return f"{what}: {'higher' if row['auroc_difference'] > 0 else 'lower'} mean AUROC than the reference ({told})"


def _seeds(row: Mapping[Any, Any], study: Study) -> str:
    higher = sum(row[f"auroc_seed{seed}"] > 0 for seed in study.seeds)
    return f"higher with {higher} of {len(study.seeds)} seeds"


def difference_table(comparisons: pd.DataFrame, study: Study) -> Table:
    """Return one row per arm: difference of its mean AUROC from the reference, p, and the difference of each seed."""
    named, rows, before = variants_of(study), [], None
    for row in comparisons[comparisons["finding"] == MEAN].to_dict("records"):
        variant = named[row["arm"]]
        seeds = ", ".join(estimate(row[f"auroc_seed{seed}"], 0, 0, signed=True).text for seed in study.seeds)
        rows.append([
            row["question"] if row["question"] != before else "",
            Cell(variant.changes, style=variant.style),
            _difference(row, "auroc"), p_text(row["auroc_p"]), p_text(row["auroc_p_holm"]), seeds,
        ])  # fmt: skip
        before = row["question"]
    columns = ("Question", CHANGED, "Mean AUROC, arm minus reference", "p", "p, corrected",
               f"Difference of seeds {', '.join(map(str, study.seeds))}")  # fmt: skip
    note = (
        f"p is two-sided and covers patients and trainings. The corrected p (Holm) accounts for {len(rows)} arms. A "
        f"difference is shown if the corrected p is below {ALPHA:g}. With one seed there is no p."
    )
    return Table("Each arm against the reference", columns, rows, note, frozenset({0, 1}), frozenset({0, 1}))


def finding_table(comparisons: pd.DataFrame, study: Study) -> Table | None:
    """Return the findings in which an arm differs from the reference after correction; None if there are none."""
    named = variants_of(study)
    shown = comparisons[(comparisons["finding"] != MEAN) & comparisons["shown"].astype(bool)]
    rows = [
        [Cell(named[row["arm"]].changes, style=named[row["arm"]].style), finding_name(row["finding"]),
         _difference(row, "auroc"), p_text(row["auroc_p_holm"])]
        for row in shown.to_dict("records")
    ]  # fmt: skip
    columns = (CHANGED, "Finding", "AUROC, arm minus reference", "p, corrected")
    note = "p is corrected (Holm) for the findings of one arm. With many arms, some of these rows are due to chance."
    return (
        Table("Single findings that differ", columns, rows, note, frozenset({0, 1}), frozenset({0})) if rows else None
    )


def cost_table(comparisons: pd.DataFrame, arms: pd.DataFrame, study: Study) -> Table:
    """Return one row per arm: its training times, and its gain over the same student alone."""
    named, rows = variants_of(study), []
    for arm, row in records(arms, "arm").items():
        taught = row["answering_seconds"] > 0
        before = duration(row["teacher_training_seconds"]) if taught else DASH
        answering = Cell(duration(row["answering_seconds"]), f"{row['answers_mb']:.1f} MB") if taught else DASH
        rows.append([
            Cell(named[arm].changes, style=named[arm].style), duration(row["training_seconds"]), before, answering,
            estimate(row["over_control"], row["over_control_low"], row["over_control_high"], signed=True),
        ])  # fmt: skip
    columns = (CHANGED, "Training the student", "Training the teacher", "Storing the teacher's answers",
               "Mean AUROC, arm minus alone")  # fmt: skip
    note = (
        "Means over seeds. Other steps of the study may have run at the same time. A teacher is trained, and its "
        "answers are stored, once per seed for all its students."
    )
    return Table("Training time and gain of each arm", columns, rows, note, frozenset({0}), frozenset({0}))


def agreement_table(arms: pd.DataFrame, study: Study) -> Table | None:
    """Return one row per arm: agreement of its evidence with that of the reference's teacher; None without one."""
    if arms["agreement"].isna().all():
        return None
    named, rows = variants_of(study), []
    for arm, row in records(arms, "arm").items():
        own = estimate(row["agreement"], row["agreement_low"], row["agreement_high"])
        difference = (row[f"agreement_difference{end}"] for end in ("", "_low", "_high"))
        is_reference = study.ablation and arm == study.ablation.reference
        rows.append([Cell(named[arm].changes, style=named[arm].style), own,
                     DASH if is_reference else estimate(*difference, signed=True)])  # fmt: skip
    columns = (CHANGED, "Mean cosine of evidence", "Arm minus reference")
    note = (
        "Cosine of the student's and the teacher's evidence, from \N{MINUS SIGN}1 to 1; higher is more alike. Mean "
        "over test images, the findings present in them, and seeds, with 95 % intervals over patients. Distilling maps "
        "optimises this value. Agreement with a teacher does not mean that a map is correct."
    )
    return Table("Agreement of evidence with the teacher's", columns, rows, note, frozenset({0}), frozenset({0}))


def _difference(row: Mapping[Any, Any], metric: str) -> Cell:
    return estimate(row[f"{metric}_difference"], row[f"{metric}_low"], row[f"{metric}_high"], signed=True)
