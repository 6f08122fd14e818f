"""Published weights of a chest classifier as a teacher: which file, its layout, and what it was trained on."""

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from cxr_kd.errors import StudyError
from cxr_kd.files import sha256_of
from cxr_kd.study.settings import Settings

Layout = Literal["torchxrayvision"]

# The network that each layout's weights are of.
NETWORKS: Mapping[Layout, str] = {"torchxrayvision": "densenet121"}
# Public data sets -> other names for them, among them the codes in torchxrayvision's file names.
DATA_SETS: Mapping[str, tuple[str, ...]] = {
    "chestxray14": ("nih", "chestxray8", "nihchestxray14", "nihchestxray8"),
    "chestmnist": (),
    "chexpert": ("chex",),
    "padchest": ("pc",),
    "mimic-cxr": ("mimic", "mimicch", "mimicnb", "mimiccxrjpg"),
    "rsna-pneumonia": ("kaggle", "rsna"),
    "siim-pneumothorax": ("siim", "siimacr"),
    "google-nih": ("google",),
    "openi": ("iu", "indiana"),
    "vindr-cxr": ("vin", "vinbigdata", "vindr"),
}


def data_set_name(name: str) -> str:
    """Return the name of a public data set as `DATA_SETS` has it, or another text unchanged.

    Raises ValueError for a text that is close to one of these names: a misspelt data set would never be recognised.
    """
    known = {_plain(alias): own for own, others in DATA_SETS.items() for alias in (own, *others)}
    if _plain(name) in known:
        return known[_plain(name)]
    if close := difflib.get_close_matches(_plain(name), known, n=1, cutoff=0.75):
        raise ValueError(f"{name!r} is no data set known here; did you mean {known[close[0]]!r}?")
    if not name.strip():
        raise ValueError("the name of a data set cannot be empty")
    return name


def data_sets_in(file_name: str) -> tuple[str, ...]:
    """Return the data sets that a file name of torchxrayvision begins with, such as nih-pc-chex-...-densenet121."""
    known = {_plain(alias): own for own, others in DATA_SETS.items() for alias in (own, *others)}
    parts = re.split(r"densenet|resnet", file_name.lower())[0].strip("-_").split("-")
    found = [known.get(_plain(part), "") for part in parts]
    return tuple(dict.fromkeys(found)) if all(found) else ()


class Published(Settings):
    """Published weights that a teacher uses as they are: it is not trained."""

    file: str = Field(min_length=1, description="relative to the folder that holds studies/, or absolute")
    layout: Layout
    trained_on: tuple[Annotated[str, AfterValidator(data_set_name)], ...] = Field(
        (),
        strict=False,  # a teacher's settings come as Python's lists, because `Teacher` can also be a name alone
        description="every data set that these weights were trained on: no network is scored on those",
    )
    findings: Mapping[str, str] = Field(
        {}, description="the file's name for a finding, where it differs: our name -> its name"
    )

    @model_validator(mode="after")
    def _says_what_it_was_trained_on(self) -> Self:
        if not self.trained_on:
            named = data_sets_in(Path(self.file).name)
            hint = f". By its name, the file was trained on {', '.join(named)}" if named else ""
            raise ValueError(
                f"say what these weights were trained on, every data set, so that nothing is scored on what it has "
                f"seen: trained_on: [{', '.join(named or ('chestxray14', 'chexpert'))}]; names known here: "
                f"{', '.join(DATA_SETS)}{hint}"
            )
        return self

    def path(self, home: Path) -> Path:
        """Return the file's path. Raises StudyError if there is no such file."""
        path = home / Path(self.file).expanduser()
        if not path.is_file():
            raise StudyError(
                f"there is no weights file at {path}: put it there, or correct weights: {{file: ...}} in the study"
            )
        return path

    def identity(self, home: Path) -> dict[str, object]:
        """Return what the weights depend on: the file's SHA-256 and these settings without its place."""
        path = self.path(home)
        state = path.stat()
        settings = self.model_dump(mode="json", exclude={"file"})
        return {**settings, "sha256": _sha256(path, state.st_size, state.st_mtime_ns)}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Return a file's SHA-256; size and time only tell the cache whether the file is still the same."""
    return sha256_of(path)
