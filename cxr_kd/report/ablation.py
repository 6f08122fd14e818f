"""The ablation in words and tables: what each arm changes, what that did, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.evaluation.uncertainty import MEAN
from cxr_kd.models import registry
from cxr_kd.report.headline import FEW_PATIENTS
from cxr_kd.report.style import ArmStyle, finding_name, style_of
from cxr_kd.report.tables import DASH, Cell, Table, duration, estimate, estimate_text, records
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, compared_arms
from cxr_kd.study.loss_table import LOSSES
from cxr_kd.study.runs import Run

CHANGED = "Changed"


@dataclass(frozen=True)
class Variant:
    """An arm of the ablation as the report calls it: what it changes of the reference, and how it is drawn."""

    changes: str
    style: ArmStyle


def variants_of(study: Study) -> dict[str, Variant]:
    """Every arm of the ablation -> what it changes, from both runs' settings; the reference says what it is."""
    if not study.ablation:
        return {}
    arms = {arm: runs[0] for arm, runs in all_arms(study).items()}
    reference = arms[study.ablation.reference]
    texts = {arm: changes(arms[arm], reference) for arm in compared_arms(study)}
    return {arm: Variant(text, style_of(arm, arms[arm])) for arm, text in texts.items()}


def changes(run: Run, reference: Run) -> str:
    """What a run changes of the reference: `binary_kl 0.5 in place of logit_mse 0.5`, `1 view in place of 3`."""
    if run.arm == reference.arm:
        return f"the reference: {_teachers(run)}, {_weights(run, run.losses)}, {_views(run)}"
    if not run.teacher:
        return "no teacher"
    said = [] if run.teachers == reference.teachers else [_teachers(run)]
    if run.views != reference.views:
        said.append(f"{_views(run)} in place of {reference.views}")
    before, after = (dict(each.objective) for each in (reference, run))
    gone = [name for name in reference.losses if before[name] != after.get(name, 0)]
    new = [name for name in run.losses if after[name] != before.get(name, 0)]
    if new and gone:
        said.append(f"{_weights(run, new)} in place of {_weights(reference, gone)}")
    elif new or gone:
        said.append(f"with {_weights(run, new)}" if new else f"without {_weights(reference, gone)}")
    return ", ".join(said) or run.label


def _teachers(run: Run) -> str:
    return f"from {' and '.join(registry.info(name).title for name in run.teachers)}" if run.teachers else "no teacher"


def _weights(run: Run, losses: Any) -> str:
    return " + ".join(f"{name} {run.objective[name]:g}" for name in run.objective if name in losses)


def _views(run: Run) -> str:
    return f"{run.views} view{'s' if run.views > 1 else ''}"


def answers(comparisons: pd.DataFrame, study: Study, patients: int) -> list[tuple[str, str]]:
    """A sentence for each question, computed from the comparisons; nothing is claimed that is not `shown`."""
    named = variants_of(study)
    means = comparisons[comparisons["finding"] == MEAN]
    sentences = []
    for question, rows in means.groupby("question", sort=False):
        clauses = [_clause(row, named[row["arm"]].changes, study, patients) for row in rows.to_dict("records")]
        sentences.append((str(question), f"{'. '.join(clauses)}."))
    return sentences


def _clause(row: Mapping[Any, Any], what: str, study: Study, patients: int) -> str:
    if what.split()[0] not in LOSSES:
        what = what[:1].upper() + what[1:]
    if row["left_out"]:
        return f"{what}: no finding has enough positives to say anything"
    change = estimate_text(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True)
    told = f"{change}, corrected p {p_text(row['auroc_p_holm'])}, {_seeds(row, study)}"
    if patients < FEW_PATIENTS:
        return f"{what}: {patients} test patients are too few to say ({told})"
    if not row["shown"]:
        return f"{what}: no difference could be shown ({told})"
    return f"{what}: {'higher' if row['auroc_difference'] > 0 else 'lower'} mean AUROC than the reference ({told})"


def _seeds(row: Mapping[Any, Any], study: Study) -> str:
    higher = sum(row[f"auroc_seed{seed}"] > 0 for seed in study.seeds)
    return f"higher with {higher} of {len(study.seeds)} seeds"


def p_text(p: float) -> str:
    """A p-value as it is printed: 0.042, <0.001, or a dash where none is defined."""
    return DASH if pd.isna(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def difference_table(comparisons: pd.DataFrame, study: Study) -> Table:
    """One row an arm: the mean AUROC's difference from the reference, its p, and each seed's difference."""
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
    smallest = 2 / (study.evaluation.resamples + 1)
    columns = ("Question", CHANGED, "Mean AUROC, arm minus reference", "p", "p, corrected",
               f"of seeds {', '.join(map(str, study.seeds))}")  # fmt: skip
    note = (
        f"p: two-sided, from the bootstrap over patients of the mean over seeds; corrected (Holm) for the {len(rows)} "
        f"arms. The smallest that {study.evaluation.resamples:,} resamples give is {smallest:.2g} before correction "
        f"and {smallest * len(rows):.2g} after it. Shown: corrected p below {ALPHA:g}, and all seeds on one side."
    )
    return Table("Each arm against the reference", columns, rows, note, frozenset({0, 1}), frozenset({0, 1}))


def finding_table(comparisons: pd.DataFrame, study: Study) -> Table | None:
    """The single findings in which an arm differs from the reference, corrected for all findings; None without any."""
    named = variants_of(study)
    shown = comparisons[(comparisons["finding"] != MEAN) & comparisons["shown"].astype(bool)]
    rows = [
        [Cell(named[row["arm"]].changes, style=named[row["arm"]].style), finding_name(row["finding"]),
         _difference(row, "auroc"), p_text(row["auroc_p_holm"])]
        for row in shown.to_dict("records")
    ]  # fmt: skip
    columns = (CHANGED, "Finding", "AUROC, arm minus reference", "p, corrected")
    note = "Corrected (Holm) for the findings of an arm; of many arms, some such rows are to be expected by chance."
    return (
        Table("Single findings that differ", columns, rows, note, frozenset({0, 1}), frozenset({0})) if rows else None
    )


def cost_table(comparisons: pd.DataFrame, arms: pd.DataFrame, study: Study) -> Table:
    """One row an arm: what it cost, and what it brought over the same student alone."""
    named, rows = variants_of(study), []
    for arm, row in records(arms, "arm").items():
        taught = row["answering_seconds"] > 0
        before = duration(row["teacher_training_seconds"]) if taught else DASH
        asking = Cell(duration(row["answering_seconds"]), f"{row['answers_mb']:.1f} MB") if taught else DASH
        rows.append([
            Cell(named[arm].changes, style=named[arm].style), duration(row["training_seconds"]), before, asking,
            estimate(row["over_control"], row["over_control_low"], row["over_control_high"], signed=True),
        ])  # fmt: skip
    columns = (CHANGED, "Training the student", "Training the teacher", "Asking it, and what is kept",
               "Mean AUROC, arm minus alone")  # fmt: skip
    note = (
        "Means over seeds. Times were taken while other steps of the study ran beside them. A teacher and its answers, "
        "with all that any of its students asks for, are paid for once a seed, and serve all of its students."
    )
    return Table("What each arm cost, and what it brought", columns, rows, note, frozenset({0}), frozenset({0}))


def agreement_table(arms: pd.DataFrame, study: Study) -> Table | None:
    """One row an arm: how much its maps agree with those of the reference's teacher; None where it has none."""
    if arms["agreement"].isna().all():
        return None
    named, rows = variants_of(study), []
    for arm, row in records(arms, "arm").items():
        own = estimate(row["agreement"], row["agreement_low"], row["agreement_high"])
        difference = (row[f"agreement_difference{end}"] for end in ("", "_low", "_high"))
        is_reference = study.ablation and arm == study.ablation.reference
        rows.append([Cell(named[arm].changes, style=named[arm].style), own,
                     DASH if is_reference else estimate(*difference, signed=True)])  # fmt: skip
    columns = (CHANGED, "Mean cosine of maps", "Arm minus reference")
    note = (
        "The cosine of the student's and the teacher's signed maps, from \N{MINUS SIGN}1 to 1, higher is more alike; "
        "mean over test images and the findings that are there, and over seeds, with 95 % intervals over patients. "
        "It is what distilling maps asks for. Agreement with a teacher is not correctness."
    )
    return Table("Do the student's maps agree with the teacher's?", columns, rows, note, frozenset({0}), frozenset({0}))


def _difference(row: Mapping[Any, Any], metric: str) -> Cell:
    return estimate(row[f"{metric}_difference"], row[f"{metric}_low"], row[f"{metric}_high"], signed=True)
