"""The parts of a study, each checked and frozen.

Everything imports these and they import nothing of the package, so the names of data sets, networks and losses stand
here; tests hold them against the registries that implement them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

DatasetName = Literal["phantom", "chestxray14", "chexpert", "padchest", "chestmnist", "folder"]
NETWORK_NAME = r"^[a-z0-9_]+(\.[a-z0-9_]+)?$"  # ours, or timm's with or without its tag: the registry knows them
NetworkName = Annotated[str, Field(pattern=NETWORK_NAME)]
# One teacher, or several who answer together: densenet161+visformer_s.
TeacherNames = Annotated[str, Field(pattern=rf"^{NETWORK_NAME[1:-1]}(\+{NETWORK_NAME[1:-1]})*$")]
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
SplitName = Literal["official", "random-70-10-20", "lists", "medmnist-random-70-10-20"]
Uncertain = Literal["zeros", "ones", "ignore"]
Intensity = Literal["fixed", "per-image"]
Share = Annotated[float, Field(gt=0, lt=1)]

# What must lie in the folder that DATA names, in a sentence that begins "Put there".
LAYOUTS: Mapping[str, str] = {
    "chestxray14": (
        "what the NIH Clinical Center publishes: the images, in images/ or as unpacked in images_001/images/ ... "
        "images_012/images/, with Data_Entry_2017_v2020.csv, train_val_list.txt, test_list.txt and BBox_List_2017.csv. "
        "Part of the images will do"
    ),
    "chexpert": (
        "what Stanford AIMI publishes: the folder CheXpert-v1.0 or CheXpert-v1.0-small, with train.csv, valid.csv, "
        "train/ and valid/ (and test/ with test_labels.csv, where you have them). Of the full edition, which comes in "
        "batches, move the patient folders of all training batches into train/. Part of the images will do"
    ),
    "padchest": (
        "what BIMCV publishes: PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv (or .csv.gz), and the PNG images, "
        "in the folder itself, in images/, or in the numbered folders 0/ ... 54/. Part of the images will do"
    ),
    "chestmnist": (
        "the file chestmnist_64.npz (chestmnist.npz for 28 px, chestmnist_128.npz, chestmnist_224.npz) of MedMNIST; or "
        "set chestmnist: {download: true} in the study, name no folder, and the medmnist package fetches it"
    ),
    "folder": (
        "your images (PNG, JPEG or DICOM) and a CSV file with a row an image: its path, its patient, and a column of 1 "
        "and 0 a finding; the study's folder: settings say which columns those are"
    ),
}

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


class ChexpertSettings(Settings):
    """How CheXpert's labels are read: 1 and 0 are said; -1 is uncertain; a blank is a finding not mentioned."""

    uncertain: Uncertain = Field(default="ignore", description="what -1 means: 0, 1, or nobody said")
    uncertain_for: Mapping[str, Uncertain] = Field(default={}, description="another meaning for single findings")
    blank: Literal["zeros", "ignore"] = Field(default="zeros", description="what a blank means: 0, or nobody said")
    views: Literal["frontal", "lateral", "all"] = "frontal"


class PadchestSettings(Settings):
    """Which rows of PadChest are read."""

    projections: tuple[str, ...] = Field(default=("PA", "AP", "AP_horizontal"), min_length=1)
    labelled_by: Literal["all", "physician"] = Field(
        default="all", description="physicians labelled 27 %, a network the rest"
    )


class ChestmnistSettings(Settings):
    """Which ChestMNIST is read."""

    size: Literal[28, 64, 128, 224] = Field(default=64, description="pixels a side")
    download: bool = Field(
        default=False, description="fetch the file through the medmnist package where it is not there"
    )


class FolderSettings(Settings):
    """A folder of one's own: a CSV file with a row an image, and which of its columns says what."""

    name: str = Field(default="own data", min_length=1, description="what the report calls it")
    table: str = Field(default="labels.csv", description="the CSV file, in the data folder")
    path: str = Field(default="path", description="column of image paths, relative to the data folder")
    patient: str = Field(default="patient_id", description="column of patient ids")
    image: str | None = Field(default=None, description="column of image ids; none: the path is the id")
    view: str | None = None
    age: str | None = None
    sex: str | None = None
    blank: Literal["zeros", "ignore"] = Field(
        default="ignore", description="what a blank label means: 0, or nobody said"
    )
    source: Mapping[str, str] = Field(default={}, description="citation, licence, ...: what the data card prints")


class SplitLists(Settings):
    """Three lists of images, a line an image, in the data folder."""

    train: str
    validation: str
    test: str


class DataSettings(Settings):
    """The radiographs of a study and how they are split; where they lie comes from DATA or CXR_KD_DATA.

    A data set's own settings stand under its name.
    """

    dataset: DatasetName
    findings: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(None, description="none: all it has")
    split: SplitName = "random-70-10-20"
    split_seed: int = Field(default=0, ge=0)
    validation_share: Share = Field(0.1, description="share of the official training patients kept for validation")
    lists: SplitLists | None = Field(None, description="the lists of split: lists")
    phantom: PhantomSettings | None = None
    chexpert: ChexpertSettings | None = None
    padchest: PadchestSettings | None = None
    chestmnist: ChestmnistSettings | None = None
    folder: FolderSettings | None = None

    @property
    def options(self) -> Settings | None:
        """The data set's own settings, where the study gives any."""
        options: Settings | None = getattr(self, self.dataset, None)
        return options

    @model_validator(mode="after")
    def _settings_of_this_data_set_only(self) -> Self:
        for name in get_args(DatasetName):
            if name != self.dataset and getattr(self, name, None) is not None:
                raise ValueError(f"{name!r} settings belong to dataset: {name}, not to {self.dataset}")
        if self.dataset == "phantom" and not self.phantom:
            raise ValueError("say which: phantom: {images: 2000}")
        if self.dataset == "folder" and not self.findings:
            raise ValueError("name the columns that are findings: findings: [Effusion, Nodule]")
        if self.findings and len(set(self.findings)) < len(self.findings):
            raise ValueError(f"findings must each stand once, not {', '.join(self.findings)}")
        return self

    @model_validator(mode="after")
    def _a_split_that_this_data_set_has(self) -> Self:
        if (self.split == "lists") != (self.lists is not None):
            raise ValueError("split: lists and lists: {train: FILE, validation: FILE, test: FILE} go together")
        if self.split == "official" and self.dataset not in ("chestxray14", "chexpert"):
            raise ValueError(f"{self.dataset} has no official split: use split: {_split_of(self.dataset)}")
        if (self.split == "medmnist-random-70-10-20") != (self.dataset == "chestmnist"):
            raise ValueError(
                "chestmnist comes without patient ids, so only its own split can be used: "
                "split: medmnist-random-70-10-20; no other data set has that one"
            )
        return self


def _split_of(dataset: str) -> str:
    return "medmnist-random-70-10-20" if dataset == "chestmnist" else "random-70-10-20"


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
