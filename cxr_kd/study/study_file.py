"""The settings of a study file, and where the study's files are. `study.py` adds the runs."""

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from cxr_kd.errors import StudyError
from cxr_kd.study.data_settings import LAYOUTS, OPEN_DATA, DataSettings, Intensity
from cxr_kd.study.external import EvaluateOn, made_root
from cxr_kd.study.reporting import Reporting
from cxr_kd.study.settings import (
    Ablation,
    Augmentation,
    Device,
    Evaluation,
    Explanation,
    LossSettings,
    Objective,
    Seed,
    Settings,
    Student,
    Training,
)
from cxr_kd.study.teacher import TeacherEntry


def published_objective() -> Objective:
    """Return the paper's two losses (arXiv 2305.06244), focal cross-entropy and squared error, with our own weights."""
    return {"focal_bce": 1.0, "logit_mse": 0.5}


def _none_if_false(value: Any) -> Any:
    return None if value is False else value


Pretrained = Annotated[Literal["imagenet"] | None, BeforeValidator(_none_if_false)]


class StudyFile(Settings):
    """What a study file says, each setting by itself, and the folders of the study."""

    file: Path = Field(exclude=True)
    title: str
    question: str
    data: DataSettings
    evaluate_on: EvaluateOn = Field(
        {}, description="further data sets that the networks are tested on: name -> its `data`, and its `root`"
    )
    image_size: int = Field(224, ge=32, le=4096, description="pixels per side")
    keep_aspect: bool = Field(False, description="pad images to a square instead of stretching them")
    intensity: Intensity = Field(
        "fixed", description="how 16-bit and DICOM grey values become 8 bits: by a fixed rule, or stretched per image"
    )
    augmentation: Augmentation = Field(default_factory=Augmentation)
    teachers: tuple[TeacherEntry, ...]
    students: tuple[Student, ...]
    pretrained: Pretrained = Field(
        None, description="what networks start from that do not say it themselves; false or null: random weights"
    )
    objective: Objective = Field(default_factory=published_objective)
    losses: LossSettings = Field(default_factory=LossSettings)
    teacher_views: int = Field(
        4, ge=1, description="views of each training image for which a teacher's answers are stored"
    )
    teacher_training: Training
    student_training: Training
    seeds: tuple[Seed, ...] = (0,)
    ablation: Ablation | None = None
    evaluation: Evaluation = Field(default_factory=Evaluation)
    explanation: Explanation = Field(default_factory=Explanation)
    device: Device = Field(default_factory=Device)
    share_predictions: bool | None = Field(
        None,
        description="whether the report's copy of the study has the predictions, which hold ids and labels of all test "
        "images; default: only if anyone may have the data (phantoms, ChestX-ray14, ChestMNIST)",
    )
    reporting: Reporting = Field(
        default_factory=Reporting, description="what only a person can say, for the page of reporting guidelines"
    )

    @field_validator("data")
    @classmethod
    def _has_a_training_side(cls, value: DataSettings) -> DataSettings:
        if value.split == "all-test":
            raise ValueError("split: all-test leaves no image to train on; it is for the data sets of evaluate_on")
        return value

    @property
    def name(self) -> str:
        """Name of the study: its file's name without `.yaml`."""
        return self.file.stem

    @cached_property
    def home(self) -> Path:
        """Folder that holds `runs/` and `reports/`: the one above `studies/`, or the current one for other places."""
        return self.file.parent.parent if self.file.parent.name == "studies" else Path.cwd()

    @property
    def predictions_are_shared(self) -> bool:
        """Whether the report's copy of the study has the predictions (`share_predictions`)."""
        return self.data.dataset in OPEN_DATA if self.share_predictions is None else self.share_predictions

    @property
    def runs_folder(self) -> Path:
        """Folder of this study's results, with one run folder per run."""
        return self.home / "runs" / self.name

    @property
    def report_folder(self) -> Path:
        """Folder of this study's report and executed notebooks."""
        return self.home / "reports" / self.name

    @property
    def made_root(self) -> Path | None:
        """Folder of data that the study draws or downloads itself; None if a user supplies the data."""
        given = self.data.chestmnist and os.environ.get("CXR_KD_DATA")
        return None if given else made_root(self.home, self.data)

    def data_root(self) -> Path:
        """Return the folder that holds the data set: `made_root`, or what DATA (CXR_KD_DATA) names.

        Raises StudyError, which says what to put there, if there is no such folder.
        """
        if self.made_root:
            return self.made_root
        given = os.environ.get("CXR_KD_DATA", "")
        if not given or not Path(given).is_dir():
            found = f"{given!r} is not a folder" if given else "no folder was given"
            raise StudyError(
                f"study {self.name!r} reads the data set {self.data.dataset!r}, and {found}. Name one: make study "
                f"STUDY=studies/{self.file.name} DATA=DIR (or set CXR_KD_DATA). Put there "
                f"{LAYOUTS[self.data.dataset]}. See 'Real data' in README.md."
            )
        return Path(given).resolve()

    def external_root(self, name: str) -> Path:
        """Return the folder of a data set of `evaluate_on`. Raises StudyError if there is none."""
        return self.evaluate_on[name].folder(self.home, f"{self.file}: evaluate_on.{name}")
