"""The parts of a study, each checked and frozen; those about its radiographs are in `data_settings.py`.

Everything imports these and they import nothing else of the package, so the names of networks and losses stand here,
and those of data sets there; tests hold them against the registries that implement them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cxr_kd.study.loss_table import known_loss

NETWORK_NAME = r"^[a-z0-9_]+(\.[a-z0-9_]+)?$"  # ours, or timm's with or without its tag: the registry knows them
NetworkName = Annotated[str, Field(pattern=NETWORK_NAME)]
# One teacher, or several who answer together: densenet161+visformer_s.
TeacherNames = Annotated[str, Field(pattern=rf"^{NETWORK_NAME[1:-1]}(\+{NETWORK_NAME[1:-1]})*$")]
LossName = Annotated[str, AfterValidator(known_loss)]


class Settings(BaseModel):
    """Part of a study: no unknown key, no silent conversion, no change after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Augmentation(Settings):
    """Largest change of a training view, each drawn uniformly on both sides of none. No flips: the heart has a side."""

    rotate_degrees: float = Field(default=7.0, ge=0, le=45)
    translate: float = Field(default=0.05, ge=0, le=0.5, description="share of the image's side")
    scale: float = Field(default=0.1, ge=0, lt=1, description="relative change of size")
    brightness: float = Field(default=0.1, ge=0, lt=1, description="added to the [0, 1] range")
    contrast: float = Field(default=0.15, ge=0, lt=1, description="relative change of contrast about the mean")


class Training(Settings):
    """One training: AdamW, linear warm-up, cosine decay to zero, gradient clipping; the rest is off until asked for."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_share: float = Field(0.1, ge=0, lt=1, description="share of all steps")
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="of the average of weights that is validated and kept; 0: none"
    )
    patience: int = Field(0, ge=0, description="epochs without a better validation AUROC before it stops; 0: never")
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16: where the device has it")


class LossSettings(Settings):
    """What the losses leave open, with the values of their papers."""

    focusing: float = Field(default=2.0, ge=0, description="gamma of focal binary cross-entropy, balanced or not")
    positive_focusing: float = Field(default=0.0, ge=0, description="gamma of the asymmetric loss for positives")
    negative_focusing: float = Field(default=4.0, ge=0, description="gamma of the asymmetric loss for negatives")
    margin: float = Field(default=0.05, ge=0, lt=1, description="probability below which it leaves a negative out")
    temperature: float = Field(default=2.0, gt=0, description="of binary_kl")


Objective = Mapping[LossName, Annotated[float, Field(ge=0)]]


class Student(Settings):
    """A student to train: with a teacher, or alone on the same budget."""

    network: NetworkName = "eeea_net_c2"
    teacher: TeacherNames | None = Field(None, description="none: the student alone, the control")
    objective: Objective | None = Field(None, description="the study's own where none is given")
    views: int | None = Field(None, ge=1, description="the study's teacher_views where none are given")
    label: str = Field("", pattern=r"^[A-Za-z0-9.]*$", description="tells apart two students of one teacher")


class Ablation(Settings):
    """What each part of the distillation is worth: students that differ from one of them, the reference, in one thing.

    Students are named as their runs are, without the seed: eeea_net_c2_alone, eeea_net_c2_from_densenet161-LABEL. All
    have the study's budget, for a student has no training settings of its own.
    """

    reference: str
    questions: Annotated[Mapping[str, Annotated[tuple[str, ...], Field(min_length=1)]], Field(min_length=1)] = Field(
        description="a question, and the students that answer it beside the reference"
    )


class Evaluation(Settings):
    """How estimates are made from predictions."""

    resamples: int = Field(default=1000, ge=20, description="bootstrap resamples over patients")
    minimum_positives: int = Field(default=10, ge=1, description="fewer, and a finding is left out of the mean")
    seed: int = 0


class Explanation(Settings):
    """Which test images the report explains."""

    images: int = Field(default=6, ge=1, le=40)


class Device(Settings):
    """How the cost table is measured."""

    latency_repeats: int = Field(default=50, ge=3)


def digest(settings: Any) -> str:
    """SHA-256 of settings in their canonical JSON form."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
