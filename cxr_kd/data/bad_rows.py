"""Collect what is wrong in the rows of a label table, so that one bad row does not hide the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cxr_kd.errors import DataError

SHOWN = 5  # problems that a message shows


class Complaint(NamedTuple):
    """Values of one column that cannot be used.

    Attributes:
        wrong: bool (N,), which rows.
        column: its name.
        why: what is wrong, to follow the value in a sentence; or a function that says it for each value.
    """

    wrong: pd.Series | np.ndarray
    column: str
    why: str | Callable[[str], str]


@dataclass
class BadRows:
    """The problems found so far in the table at `path`: how many, and the text of the first ones with their lines."""

    path: Path
    count: int = 0
    texts: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """Add one problem of the row on this line."""
        self.count += 1
        if self.count <= SHOWN:
            self.texts.append((line, f": {text}"))

    def add_complaint(self, complaint: Complaint, values: Sequence[str] | pd.Series, lines: np.ndarray) -> None:
        """Add every problem of a complaint about these values, which are on these lines."""
        rows = np.flatnonzero(np.asarray(complaint.wrong, dtype=bool))
        self.count += len(rows)
        for row in rows[:SHOWN].tolist():
            value = pd.Series(values).iloc[row]
            why = complaint.why if isinstance(complaint.why, str) else complaint.why(value)
            self.texts.append((int(lines[row]), f", column {complaint.column!r}: {value!r} {why}"))

    def refuse(self) -> None:
        """Raise DataError with the file and the first problems in the order of their lines, if there are any."""
        shown = [f"line {line}{text}" for line, text in sorted(self.texts, key=lambda found: found[0])[:SHOWN]]
        if self.count == 1:
            raise DataError(f"{self.path}, {shown[0]}")
        if shown:
            more = [f"and {self.count - len(shown):,} more"] if self.count > len(shown) else []
            raise DataError("\n  ".join([f"{self.path}: {self.count:,} problems:", *shown, *more]))
