"""A JSON file beside a run with what was fitted on its validation side: operating points, recalibration.

It is a file of its own and never part of a model, because it holds for one prevalence and one use only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.files import read_json, write_json


class RunFile(BaseModel):
    """Which run it was fitted on. Subclasses add what was fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    study: str
    run: str
    split_sha256: str
    side: Literal["validation"] = "validation"

    @classmethod
    def fitted_on(cls, validation: Predictions, **content: Any) -> Self:
        """Return what was fitted (`content`) with the run that it belongs to.

        Raises PredictionsError unless the predictions are of the validation side.
        """
        metadata = validation.metadata
        if metadata.side != "validation":
            raise PredictionsError(f"{validation.source}: of the {metadata.side} side; those of validation are needed")
        return cls(study=metadata.study, run=metadata.run, split_sha256=metadata.split_sha256, **content)

    def write(self, path: Path) -> None:
        """Write the JSON file, whole."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the content of a file; PredictionsError if it is missing or says something else."""
        try:
            return cls.model_validate(read_json(path))
        except (OSError, ValueError) as error:
            told = str(error)
            if isinstance(error, ValidationError):
                told = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors())
            raise PredictionsError(
                f"{path}: cannot be read ({told}); fit it again on the run's validation side"
            ) from error

    def check_belongs(self, predictions: Predictions) -> None:
        """Raise PredictionsError unless the predictions are of the same run and split."""
        metadata = predictions.metadata
        if (metadata.run, metadata.split_sha256) != (self.run, self.split_sha256):
            raise PredictionsError(
                f"{predictions.source}: of the run {metadata.run}; what was fitted on validation is of {self.run}, or "
                "of another split. Fit it again on this run's validation side"
            )
