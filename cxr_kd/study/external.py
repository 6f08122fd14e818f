"""Further data sets on which a study's networks are tested ("external testing"), and where they are."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from cxr_kd.errors import StudyError
from cxr_kd.study.data_settings import LAYOUTS, DataSettings, PhantomSettings, SplitName
from cxr_kd.study.settings import Settings, digest

LONGEST_NAME = 40


def file_name(name: str) -> str:
    """Return the name of a further data set unchanged if it can name a folder. Raises ValueError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or len(name) > LONGEST_NAME:
        raise ValueError(
            f"{name!r} cannot name a folder: use letters, digits, '_', '-' and '.', at most {LONGEST_NAME}, "
            "and begin with a letter or digit"
        )
    return name


class ExternalData(DataSettings):
    """The radiographs of a further data set; only its test side is used."""

    split: SplitName = Field(
        "all-test", description="the networks are scored on its test side; by default all images are on it"
    )


class External(Settings):
    """A further data set that the study's networks are tested on, and never trained on."""

    data: ExternalData = Field(description="the same settings as the study's own data")
    root: str | None = Field(
        None,
        min_length=1,
        description="folder of the data set, relative to the folder that holds the study's runs/; not for phantoms",
    )

    @model_validator(mode="after")
    def _has_a_folder(self) -> Self:
        if self.data.phantom and self.root:
            raise ValueError("the study draws its phantoms itself: leave out 'root'")
        if not self.root and not made_root(Path(), self.data):
            raise ValueError(f"name the folder of the data set {self.data.dataset!r}: root: DIR")
        return self

    def folder(self, home: Path, setting: str) -> Path:
        """Return the folder that holds the data set, seen from the study's `home`.

        Raises StudyError, naming the `setting` (file and key), if the user supplies the data and there is no folder.
        """
        made = made_root(home, self.data)
        folder = home / self.root if self.root else made
        assert folder is not None
        if self.root and not folder.is_dir():
            raise StudyError(
                f"{setting}: root: {folder} is not a folder. Name the one of the data set {self.data.dataset!r}. Put "
                f"there {LAYOUTS[self.data.dataset]}. See 'Real data' in README.md."
            )
        return folder


EvaluateOn = Mapping[Annotated[str, AfterValidator(file_name)], External]


def made_root(home: Path, data: DataSettings) -> Path | None:
    """Return the folder of data that a study draws or downloads itself; None if a user supplies the data."""
    if data.phantom:
        return home / "runs" / "phantoms" / digest(data.phantom.model_dump())[:12]
    if data.chestmnist and data.chestmnist.download:
        return home / "runs" / "chestmnist"
    return None


def check_other_phantoms(own: PhantomSettings | None, further: EvaluateOn) -> None:
    """Raise ValueError if a further data set has the phantoms of the study's own seed: they are the same patients."""
    for name, external in further.items():
        if own and external.data.phantom and external.data.phantom.seed == own.seed:
            raise ValueError(
                f"evaluate_on: {name}: phantoms of one seed are the same patients, whatever their other settings: "
                f"give these another seed than {own.seed}"
            )
