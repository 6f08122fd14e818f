"""A job: one run of a study together with everything that its training needs."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from cxr_kd.data.loader import Batches
from cxr_kd.data.prepare import Prepared
from cxr_kd.study import Study
from cxr_kd.study.published import Published
from cxr_kd.study.runs import Run
from cxr_kd.study.settings import Training
from cxr_kd.training.distributed import Processes
from cxr_kd.training.fit import Plan


@dataclass(frozen=True, eq=False)
class Job:
    """One run to train: the study it belongs to, its data, and the processes that train it."""

    study: Study
    run: Run
    data: Prepared
    processes: Processes

    def with_run(self, run: Run) -> "Job":
        """Return the same job for another run of the study."""
        return replace(self, run=run)

    @property
    def teachers(self) -> tuple["Job", ...]:
        """The jobs of this run's teachers; empty for a teacher and for a student alone."""
        return tuple(self.with_run(teacher) for teacher in self.study.teacher_runs(self.run))

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.study.run_folder(self.run)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of everything that the run's weights depend on."""
        return self.study.identity(self.run, self.data.identity)

    @property
    def training(self) -> Training:
        """The training settings of the run."""
        return self.study.training_of(self.run)

    @property
    def published(self) -> Published | None:
        """The published weights that a teacher is; None for a run that is trained."""
        return self.study.published_weights(self.run)

    @property
    def plan(self) -> Plan:
        """What the training loop must know of this job."""
        checkpoint = self.folder / "resume.safetensors"
        return Plan(self.run.name, self.run.seed, self.training, checkpoint, self.identity, self.processes)

    def batches(self, views: int | None = None) -> Batches:
        """Return the training batches, with the run's own number of fixed views unless `views` is given.

        All students of a seed see the same images in the same order, distilled or alone. A teacher has no fixed views.
        """
        return self.data.batches(
            "train",
            self.training.batch_size,
            seed=self.run.seed,
            shuffle=True,
            views=self.run.views if views is None else views,
            augment=self.study.augmentation,
        )
