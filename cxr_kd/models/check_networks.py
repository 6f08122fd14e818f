"""Check a study's runs before anything is written or trained."""

from __future__ import annotations

from cxr_kd.models.imagenet_files import check_imagenet
from cxr_kd.models.registry import info
from cxr_kd.study import Study
from cxr_kd.study.runs import Run


def check_run(study: Study, run: Run) -> None:
    """Raise ModelError unless every network of the run exists and can be built as the study asks.

    Its name must be known, it must take the study's image size, and its ImageNet weights must be in the weights folder,
    in an installed package or on a hub if the study asks for them.
    """
    for each in (*study.teacher_runs(run), run):
        info(each.network).check_size(study.image_size)
        if each.pretrained:
            check_imagenet(each.network)


def unlisted(study: Study, run: Run) -> str | None:
    """Return a warning if the study does not name this run, which no report then shows; None otherwise."""
    if run.name in {each.name for each in study.all_runs}:
        return None
    return (
        f"Warning: {run.name} is not a run of study {study.name!r}, so no report will show it. To include it, name its "
        f"network, teacher, label and seed in {study.file}."
    )
