"""The parts of a study, each checked and frozen.

Everything imports these and they import nothing of the package, so the names of data sets, networks and losses stand
here; tests hold them against the registries that implement them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DatasetName = Literal["phantom", "chestxray14"]
NetworkName = Literal["eeea_net_c2", "ofa_595", "densenet121", "densenet161", "visformer_s"]
LossName = Literal[
    "focal_bce",
    "focal_bce_balanced",
    "asymmetric",
    "bce",
    "logit_mse",
    "prob_mse",
    "binary_kl",
    "l2d",
    "correlation",
    "hint",
    "attention_transfer",
    "map_cosine",
]
SplitName = Literal["official", "random-70-10-20"]
Share = Annotated[float, Field(gt=0, lt=1)]

# The losses that need a teacher's answer, and those that kept answers can't serve: whole feature maps are too large.
TEACHER_LOSSES: frozenset[str] = frozenset(
    {"logit_mse", "prob_mse", "binary_kl", "l2d", "correlation", "hint", "attention_transfer", "map_cosine"}
)
NEEDS_LIVE_TEACHER: frozenset[str] = frozenset({"hint"})


class StudyError(Exception):
    """A study, or a setting of it, that can't be used as it stands; the message says what to change."""


class Settings(BaseModel):
    """Part of a study: no unknown key, no silent conversion, no change after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PhantomSettings(Settings):
    """Which phantoms are drawn; phantom i is a function of these settings and i."""

    images: int = Field(ge=20, description="phantoms in the data set")
    seed: int = Field(0, ge=0)
    size: int = Field(128, ge=32, le=1024, description="pixels a side")
    rate_factor: float = Field(1.0, gt=0, description="the real rate of every finding times this")
    minimum_rate: float = Field(0.0, ge=0, le=0.3, description="no finding is rarer than this")
    label_noise: float = Field(0.05, ge=0, le=0.5, description="share of positives missed, and as many made up")
    drain_rate: float = Field(0.6, ge=0, le=1, description="share of pneumothoraces with a chest drain")
    conspicuity: float = Field(1.0, ge=0.2, le=2, description="contrast and extent of the findings; 1 as drawn")
    images_a_patient: int = Field(20, ge=1, description="no patient has more images (the real table: 184)")

    def in_words(self) -> str:
        """What a reader of the report must know of how these phantoms differ from real radiographs."""
        return (
            f"rates of the real table times {self.rate_factor:g}, but no finding rarer than {self.minimum_rate:.0%}; "
            f"{self.label_noise:.0%} of the positive labels missed and as many made up; a chest drain in "
            f"{self.drain_rate:.0%} of pneumothoraces; contrast of the findings times {self.conspicuity:g}"
        )


class DataSettings(Settings):
    """The radiographs of a study and how they are split; where they lie comes from DATA or CXR_KD_DATA."""

    dataset: DatasetName
    split: SplitName = "random-70-10-20"
    split_seed: int = Field(default=0, ge=0)
    validation_share: Share = Field(0.1, description="share of the official training patients kept for validation")
    phantom: PhantomSettings | None = None

    @model_validator(mode="after")
    def _phantoms_only_for_phantoms(self) -> Self:
        if self.phantom and self.dataset != "phantom":
            raise ValueError(f"'phantom' settings belong to dataset: phantom, not to {self.dataset}")
        if self.dataset == "phantom" and self.split == "official":
            raise ValueError("phantoms have no official split: use split: random-70-10-20")
        if self.dataset == "phantom" and not self.phantom:
            raise ValueError("say which: phantom: {images: 2000}")
        return self


class Augmentation(Settings):
    """Largest change of a training view, each drawn uniformly on both sides of none. No flips: the heart has a side."""

    rotate_degrees: float = Field(default=7.0, ge=0, le=45)
    translate: float = Field(default=0.05, ge=0, le=0.5, description="share of the image's side")
    scale: float = Field(default=0.1, ge=0, lt=1, description="relative change of size")
    brightness: float = Field(default=0.1, ge=0, lt=1, description="added to the [0, 1] range")
    contrast: float = Field(default=0.15, ge=0, lt=1, description="relative change of contrast about the mean")


class Training(Settings):
    """One training: AdamW, linear warm-up, cosine decay to zero, gradient clipping."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_share: float = Field(0.1, ge=0, lt=1, description="share of all steps")
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")


class LossSettings(Settings):
    """What the losses leave open, with the values of their papers."""

    focusing: float = Field(2.0, ge=0, description="gamma of focal binary cross-entropy, balanced or not")
    positive_focusing: float = Field(0.0, ge=0, description="gamma of the asymmetric loss for positives")
    negative_focusing: float = Field(4.0, ge=0, description="gamma of the asymmetric loss for negatives")
    margin: float = Field(0.05, ge=0, lt=1, description="probability below which it leaves a negative out")
    temperature: float = Field(2.0, gt=0, description="of binary_kl")


Objective = Mapping[LossName, Annotated[float, Field(ge=0)]]


class Student(Settings):
    """A student to train: with a teacher, or alone on the same budget."""

    network: NetworkName = "eeea_net_c2"
    teacher: NetworkName | None = Field(None, description="none: the student alone, the control")
    objective: Objective | None = Field(None, description="the study's own where none is given")
    label: str = Field("", pattern=r"^[A-Za-z0-9.+]*$", description="tells apart two students of one teacher")


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
