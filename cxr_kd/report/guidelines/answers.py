"""Every answer that an item of a checklist can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from cxr_kd.report.guidelines import answers_data as data
from cxr_kd.report.guidelines import answers_models as models
from cxr_kd.report.guidelines import answers_results as results
from cxr_kd.report.guidelines.checklist import Answer
from cxr_kd.report.guidelines.known import Known, told

_BY_A_PERSON = (  # the data set's authors, or `reporting` in the study file; nothing in the study's results
    "acquisition", "annotators", "background", "blinding", "conflicts", "dates", "deidentification", "design",
    "eligibility", "ethics", "funding", "implications", "inequalities", "input_quality", "intended_use",
    "next_steps", "patients_involved", "rater_agreement", "registration", "representativeness", "setting",
    "treatments", "users",
)  # fmt: skip
_FROM_FILES = (
    data.characteristics, data.data_sources, data.differences_of_sides, data.disjoint_sides,
    data.exclusions, data.flow, data.missing_data, data.outcome, data.outcome_counts, data.preprocessing,
    data.reference_rationale, data.reference_standard, data.sample_size, data.split, data.subsets, data.test_annotation,
    models.abstract, models.class_imbalance, models.code_availability, models.data_availability, models.ensembling,
    models.full_model, models.goal, models.initialisation, models.model, models.model_output, models.objectives,
    models.predictions, models.predictor_assessors, models.predictors_chosen, models.predictors_defined,
    models.protocol, models.selection, models.software, models.title, models.training,
    results.cluster_results, results.clusters, results.diagnostic_performance, results.explanations,
    results.external_testing, results.failures, results.fairness, results.group_results, results.internal_testing,
    results.interpretation, results.limitations, results.measures, results.performance, results.recalibration,
    results.recalibration_results, results.robustness, results.trial_registration, results.uncertainty,
)  # fmt: skip
ANSWERS: Mapping[str, Callable[[Known], Answer]] = {
    **{field: partial(told, field=field) for field in _BY_A_PERSON},
    **{answer.__name__: answer for answer in _FROM_FILES},
}


def answer_all(known: Known) -> dict[str, Answer]:
    """Return name -> answer, for every answer of ANSWERS."""
    return {name: answer(known) for name, answer in ANSWERS.items()}
