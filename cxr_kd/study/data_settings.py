"""Settings of a study's radiographs: which data set, how it is read, how it is split; each checked and frozen."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from cxr_kd.study.settings import Seed, Settings

DatasetName = Literal["phantom", "chestxray14", "chexpert", "padchest", "chestmnist", "folder"]
SplitName = Literal["official", "random-70-10-20", "lists", "medmnist-random-70-10-20", "all-test"]
Uncertain = Literal["zeros", "ones", "ignore"]
Intensity = Literal["fixed", "per-image"]
Share = Annotated[float, Field(gt=0, lt=1)]

# Data sets that anyone may have and show: phantoms, and the NIH's if they are cited.
OPEN_DATA: tuple[DatasetName, ...] = ("phantom", "chestxray14", "chestmnist")
ANOTHER_HOSPITAL = ("ap_share", "exposure", "film_contrast")  # settings of phantoms with which a hospital differs

# What the folder that DATA names must hold: the end of a sentence that begins with "Put there".
LAYOUTS: Mapping[str, str] = {
    "chestxray14": (
        "what the NIH Clinical Center publishes: the images, in images/ or as unpacked in images_001/images/ ... "
        "images_012/images/, with Data_Entry_2017_v2020.csv, train_val_list.txt, test_list.txt and BBox_List_2017.csv. "
        "Part of the images is enough. If they come from several collections, add sources.csv with the columns name "
        "and source"
    ),
    "chexpert": (
        "what Stanford AIMI publishes: the folder CheXpert-v1.0 or CheXpert-v1.0-small, with train.csv, valid.csv, "
        "train/ and valid/ (and test/ with test_labels.csv, if you have them). The full edition comes in batches: move "
        "the patient folders of all training batches into train/. Part of the images is enough"
    ),
    "padchest": (
        "what BIMCV publishes: PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv (or .csv.gz), and the PNG images, "
        "in the folder itself, in images/, or in the numbered folders 0/ ... 54/. Part of the images is enough"
    ),
    "chestmnist": (
        "the file chestmnist_64.npz (chestmnist.npz for 28 px, chestmnist_128.npz, chestmnist_224.npz) of MedMNIST; or "
        "set chestmnist: {download: true} in the study and give no folder, and the medmnist package downloads it"
    ),
    "folder": (
        "your images (PNG, JPEG or DICOM) and a CSV file with one row per image: its path, its patient, and one column "
        "of 1 and 0 per finding. The study's `folder:` settings name the columns; `cxr-kd init` writes them for you"
    ),
}


class PhantomSettings(Settings):
    """Which phantoms are drawn; phantom i is a function of these settings and i."""

    images: int = Field(ge=20, description="phantoms in the data set")
    seed: Seed = 0
    size: int = Field(128, ge=32, le=1024, description="pixels per side")
    rate_factor: float = Field(1.0, gt=0, description="factor on the real rate of every finding")
    minimum_rate: float = Field(0.0, ge=0, le=0.3, description="lowest rate of a finding")
    label_noise: float = Field(0.05, ge=0, le=0.5, description="share of positives removed; as many false ones added")
    drain_rate: float = Field(0.6, ge=0, le=1, description="share of pneumothoraces with a chest drain")
    conspicuity: float = Field(1.0, ge=0.2, le=2, description="factor on contrast and extent of the findings")
    images_a_patient: int = Field(20, ge=1, description="most images per patient (ChestX-ray14: 184)")
    ap_share: float | None = Field(None, ge=0, le=1, description="share of AP images; default: ChestX-ray14's, 0.40")
    exposure: float = Field(0.0, ge=-0.3, le=0.3, description="added to every exposure, whose own spread is 0.055")
    film_contrast: float = Field(1.0, ge=0.5, le=2, description="factor on the contrast of every image")

    @model_serializer(mode="wrap")
    def _content(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out another hospital's settings at their defaults: phantoms drawn before there were any stay valid."""
        content: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        return {k: v for k, v in content.items() if k not in ANOTHER_HOSPITAL or v != fields[k].default}

    def in_words(self) -> str:
        """Say how these phantoms differ from real radiographs, for readers of the report."""
        return (
            f"rates of the real table times {self.rate_factor:g}, but no finding rarer than {self.minimum_rate:.0%}; "
            f"{self.label_noise:.0%} of the positive labels removed and as many false ones added; a chest drain in "
            f"{self.drain_rate:.0%} of pneumothoraces; contrast of the findings times {self.conspicuity:g}"
            + (f"; {self.ap_share:.0%} AP images" if self.ap_share is not None else "")
            + (f"; exposure {self.exposure:+g}" if self.exposure else "")
            + (f"; contrast of the image times {self.film_contrast:g}" if self.film_contrast != 1 else "")
        )


class ChexpertSettings(Settings):
    """How CheXpert's labels are read: 1 present, 0 absent, -1 uncertain, blank not mentioned."""

    uncertain: Uncertain = Field(default="ignore", description="what -1 means: absent, present, or unknown")
    uncertain_for: Mapping[str, Uncertain] = Field(default={}, description="a different meaning for single findings")
    blank: Literal["zeros", "ignore"] = Field(default="zeros", description="what a blank means: absent or unknown")
    views: Literal["frontal", "lateral", "all"] = "frontal"


class PadchestSettings(Settings):
    """Which rows of PadChest are used."""

    projections: tuple[str, ...] = Field(default=("PA", "AP", "AP_horizontal"), min_length=1)
    labelled_by: Literal["all", "physician"] = Field(
        default="all", description="physicians labelled 27 % of the images, a network the rest"
    )


class ChestmnistSettings(Settings):
    """Which size of ChestMNIST is used."""

    size: Literal[28, 64, 128, 224] = Field(default=64, description="pixels per side")
    download: bool = Field(default=False, description="download the file with the medmnist package if it is missing")


class FolderSettings(Settings):
    """A folder of the user's own: a CSV file with one row per image, and the meaning of its columns."""

    name: str = Field(default="own data", min_length=1, description="name of the data in the report")
    table: str = Field(default="labels.csv", description="the CSV file, relative to the data folder")
    path: str = Field(default="path", description="column of image paths, relative to the data folder")
    patient: str = Field(default="patient_id", description="column of patient ids")
    image: str | None = Field(default=None, description="column of image ids; default: the path is the id")
    view: str | None = None
    age: str | None = None
    sex: str | None = None
    image_source: str | None = Field(
        default=None, description="column of what each image is from (hospital, scanner, collection)"
    )
    blank: Literal["zeros", "ignore"] = Field(
        default="ignore", description="what a blank label means: absent or unknown"
    )
    source: Mapping[str, str] = Field(default={}, description="citation, licence and so on, for the data card")


class SplitLists(Settings):
    """Three lists of images, one image per line, relative to the data folder."""

    train: str
    validation: str
    test: str


class DataSettings(Settings):
    """The radiographs of a study and how they are split. DATA or CXR_KD_DATA names their folder.

    A data set's own settings are under its name.
    """

    dataset: DatasetName
    findings: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="default: all findings of the data set"
    )
    split: SplitName = "random-70-10-20"
    split_seed: Seed = 0
    validation_share: Share = Field(0.1, description="share of the official training patients used for validation")
    lists: SplitLists | None = Field(None, description="for split: lists")
    phantom: PhantomSettings | None = None
    chexpert: ChexpertSettings | None = None
    padchest: PadchestSettings | None = None
    chestmnist: ChestmnistSettings | None = None
    folder: FolderSettings | None = None

    @property
    def options(self) -> Settings | None:
        """The data set's own settings, or None."""
        options: Settings | None = getattr(self, self.dataset, None)
        return options

    @model_validator(mode="after")
    def _settings_of_this_data_set_only(self) -> Self:
        for name in get_args(DatasetName):
            if name != self.dataset and getattr(self, name, None) is not None:
                raise ValueError(f"{name!r} settings belong to dataset: {name}, not to {self.dataset}")
        if self.dataset == "phantom" and not self.phantom:
            raise ValueError("say how many phantoms to draw: phantom: {images: 2000}")
        if self.dataset == "folder" and not self.findings:
            raise ValueError("name the columns that are findings: findings: [Effusion, Nodule]")
        if self.findings and len(set(self.findings)) < len(self.findings):
            raise ValueError(f"name each finding once; given: {', '.join(self.findings)}")
        return self

    @model_validator(mode="after")
    def _a_split_that_this_data_set_has(self) -> Self:
        if (self.split == "lists") != (self.lists is not None):
            raise ValueError("split: lists and lists: {train: FILE, validation: FILE, test: FILE} need each other")
        if self.split == "official" and self.dataset not in ("chestxray14", "chexpert"):
            raise ValueError(f"{self.dataset} has no official split: use split: {_split_of(self.dataset)}")
        medmnist = self.split == "medmnist-random-70-10-20"
        if medmnist != (self.dataset == "chestmnist") and self.split != "all-test":
            raise ValueError(
                "chestmnist comes without patient ids, so only its own split can be used: "
                "split: medmnist-random-70-10-20. No other data set can use that split"
            )
        return self


def _split_of(dataset: str) -> str:
    return "medmnist-random-70-10-20" if dataset == "chestmnist" else "random-70-10-20"
