"""A teacher that is published weights: read from its file, checked, and scored on validation, but not trained."""

from __future__ import annotations

from cxr_kd.data.readers import shared_findings
from cxr_kd.data.trained_on import TrainedOn
from cxr_kd.errors import StudyError
from cxr_kd.models import torchxrayvision
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study.published import Published
from cxr_kd.training.job import Job
from cxr_kd.training.predict import SCORED_SIDES, validation_auroc


def load(job: Job) -> tuple[CxrClassifier, list[dict[str, float]]]:
    """Return the network of a teacher's published weights, and a history of one row, before any training.

    Raises:
        StudyError: if there is no such file, or if the settings rename a finding that the study does not have.
        DataError: if the weights were trained on the data set of the study.
        ModelError: if the file cannot be read, or has no output for a finding of the study.
    """
    published, data = job.published, job.data
    assert published is not None
    for side in SCORED_SIDES:
        trained_on(published).check_unseen(job.run.name, data.table, getattr(data.split, side), side)
    path, size = published.path(job.study.home), job.study.image_size
    if size != torchxrayvision.IMAGE_SIZE:
        made_for = torchxrayvision.IMAGE_SIZE
        job.processes.say(f"Warning: {path.name} was trained at {made_for} px; at {size} px its answers are worse")
    network = torchxrayvision.load(path, _outputs(job, published), image_size=size)
    network.start = f"published weights, not trained here ({path.name}, SHA-256 {_sha256(job, published)[:12]})"
    score = validation_auroc(network, data, job.processes.device)
    job.processes.say(f"{job.run.name}: published weights, not trained; validation AUROC {score:.4f}")
    return network, [{"epoch": 0, "loss": float("nan"), "validation_auroc": score, "seconds": 0.0}]


def trained_on(published: Published) -> TrainedOn:
    """Return what published weights were trained on, as the study declares it: whole data sets."""
    return TrainedOn(images={}, datasets=frozenset(published.trained_on))


def _outputs(job: Job, published: Published) -> dict[str, str]:
    """Return each finding of the study with the file's name for it.

    That is the name that the study's settings give, else the finding's name in ChestX-ray14, which torchxrayvision
    uses, if the table of shared findings has it, else the same name.
    """
    table, renamed = job.data.table, published.findings
    if unknown := sorted(set(renamed) - set(table.findings)):
        raise StudyError(
            f"{job.study.file}: weights: findings renames {unknown[0]!r}, which is no finding of the study: "
            f"{', '.join(table.findings)}"
        )
    known = table.dataset in shared_findings.DATA_SETS
    shared = shared_findings.shared(table.dataset, "chestxray14") if known else {}
    return {finding: renamed.get(finding, shared.get(finding, finding)) for finding in table.findings}


def _sha256(job: Job, published: Published) -> str:
    return str(published.identity(job.study.home)["sha256"])
