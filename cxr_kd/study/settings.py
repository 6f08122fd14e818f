"""The parts of a study, each checked and frozen. Those about its radiographs are in `data_settings.py`.

This module loads nothing heavy. It checks the form of a network's name; `models.registry` checks that it exists.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cxr_kd.study.loss_table import known_loss


def network_name(name: str) -> str:
    """Return a name unchanged if it can name a network. Raises ValueError otherwise.

    A name is one of ours, or timm's with or without its tag. `models.registry` checks that the network exists.
    """
    if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)?", name):
        raise ValueError(f"{name!r} cannot be a network's name: use a name from `cxr-kd models`, or one of timm's")
    return name


def teacher_names(names: str) -> str:
    """Return one teacher's name, or several joined by + (densenet161+visformer_s), unchanged. Raises ValueError."""
    for name in names.split("+"):
        network_name(name)
    return names


NetworkName = Annotated[str, AfterValidator(network_name)]
TeacherNames = Annotated[str, AfterValidator(teacher_names)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
LossName = Annotated[str, AfterValidator(known_loss)]


class Settings(BaseModel):
    """Part of a study: unknown keys are refused, nothing is converted silently, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Augmentation(Settings):
    """Largest change of a training view; each change is drawn uniformly between minus and plus this value.

    Views are never flipped, because the heart is on the left.
    """

    rotate_degrees: float = Field(default=7.0, ge=0, le=45)
    translate: float = Field(default=0.05, ge=0, le=0.5, description="share of the image size")
    scale: float = Field(default=0.1, ge=0, lt=1, description="relative change of size")
    brightness: float = Field(default=0.1, ge=0, lt=1, description="added to grey values, which go from 0 to 1")
    contrast: float = Field(default=0.15, ge=0, lt=1, description="relative change of contrast about the mean")


class Training(Settings):
    """One training: AdamW, linear warm-up, cosine decay to zero, gradient clipping. Other options default to off."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_share: float = Field(0.1, ge=0, lt=1, description="share of all steps")
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    accumulate: int = Field(1, ge=1, description="batches per optimiser step")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="decay of the moving average of weights that is validated and kept; 0: none"
    )
    patience: int = Field(
        0, ge=0, description="epochs without a better validation AUROC after which it stops; 0: never"
    )
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16 only if the device supports it")


class LossSettings(Settings):
    """Parameters of losses; the defaults are those of the papers. `loss_table` says which loss takes which."""

    focusing: float = Field(default=2.0, ge=0, description="gamma of focal binary cross-entropy, balanced or not")
    positive_focusing: float = Field(default=0.0, ge=0, description="gamma of the asymmetric loss for positives")
    negative_focusing: float = Field(default=4.0, ge=0, description="gamma of the asymmetric loss for negatives")
    margin: float = Field(
        default=0.05, ge=0, lt=1, description="the asymmetric loss ignores negatives with a lower probability"
    )
    temperature: float = Field(default=2.0, gt=0, description="temperature of binary_kl")


Objective = Mapping[LossName, Annotated[float, Field(ge=0)]]


OwnPretrained = Annotated[
    Literal["imagenet", False] | None,
    Field(description="imagenet, or false (random weights), for this network; default: the study's"),
]


class Student(Settings):
    """A student to train: with a teacher, or alone on the same budget."""

    network: NetworkName = "eeea_net_c2"
    pretrained: OwnPretrained = None
    teacher: TeacherNames | None = Field(None, description="none: the student alone, the control")
    objective: Objective | None = Field(None, description="default: the study's objective")
    views: int | None = Field(None, ge=1, description="default: the study's teacher_views")
    label: str = Field("", pattern=r"^[A-Za-z0-9.]*$", description="distinguishes two students of one teacher")


class Ablation(Settings):
    """Students that differ from one of them, the reference, in one setting each: what is each setting worth?

    Students are named like their runs, without the seed: eeea_net_c2_alone, eeea_net_c2_from_densenet161-LABEL. All
    have the study's budget, because a student has no training settings of its own.
    """

    reference: str
    questions: Annotated[Mapping[str, Annotated[tuple[str, ...], Field(min_length=1)]], Field(min_length=1)] = Field(
        description="each question, with the students that are compared with the reference to answer it"
    )


class Evaluation(Settings):
    """How estimates are made from predictions."""

    resamples: int = Field(default=1000, ge=20, le=1_000_000, description="bootstrap resamples over patients")
    minimum_positives: int = Field(default=10, ge=1, description="a finding with fewer is left out of the mean")
    non_inferiority_margin: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="AUROC by which a student may be worse than its teacher; default: untested",
    )
    headline_source: str | None = Field(
        default=None, description="source of the images that the report's headline is about; default: all images"
    )
    seed: Seed = 0


# `explanation.methods.grids` makes them
MapForm = Literal["plain", "atrous2", "atrous4", "shift2", "shift4", "layercam16", "layercam8"]


class Explanation(Settings):
    """Which test images the report explains, and how maps are made and measured."""

    images: int = Field(default=6, ge=1, le=40)
    forms: tuple[MapForm, ...] = Field(
        default=("plain",),
        min_length=1,
        description="ways to make maps; the one that finds the most on validation images is used for every network",
    )
    form: MapForm | None = Field(
        default=None, description="one of `forms` that is used whichever finds the most, if the question is about it"
    )
    marked_images: int = Field(
        default=400, ge=2, description="most images of a side whose marked findings maps are measured against"
    )
    perturbed: int = Field(
        default=40, ge=1, description="most pairs of an image and a finding whose pixels are removed to test the maps"
    )

    @model_validator(mode="after")
    def _form_is_compared(self) -> Self:
        if self.form and self.form not in self.forms:
            raise ValueError(f"form is {self.form}: add it to forms, which has {', '.join(self.forms)}")
        return self


Scales = Literal["tensor", "channel"]
Ranges = Literal["minmax", "entropy", "percentile"]
LayerGroup = Literal["first", "last", "squeeze_excite", "depthwise", "hard_swish"]


class Int8(Settings):
    """The ways to compute in 8 bits that are tried: each of `scales` with each of `ranges` and each of `kept`."""

    scales: tuple[Scales, ...] = Field(
        default=("tensor", "channel"), description="one scale for a layer's weights, or one per output channel"
    )
    ranges: tuple[Ranges, ...] = Field(
        default=("minmax", "entropy", "percentile"),
        description="what becomes of rare values of an activation on the calibration images: minmax keeps them",
    )
    kept: tuple[tuple[LayerGroup, ...], ...] = Field(
        default=((), ("squeeze_excite", "depthwise"), ("first", "last", "squeeze_excite", "depthwise")),
        description="groups of layers that go on computing in float32",
    )
    calibration_images: int = Field(default=64, ge=1, description="validation images that the ranges are from")


class Device(Settings):
    """How latency is measured, and how the exported files of students are made smaller.

    A smaller file is refused if on validation images it loses more than these limits against float32.
    """

    latency_repeats: int = Field(default=50, ge=3)
    int8: Int8 | None = Field(default_factory=Int8, description="null: no way to compute in 8 bits is tried")
    auroc_loss: float = Field(default=0.005, ge=0, description="of the mean AUROC")
    finding_loss: float = Field(default=0.01, ge=0, description="of the AUROC of any finding")
    map_cosine: float = Field(default=0.95, ge=0, le=1, description="lowest mean cosine of its maps and float32's")


def digest(settings: Any) -> str:
    """Return the SHA-256 (hex) of settings in their canonical JSON form."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
