"""The figures of a user's own radiographs, which `cxr-kd explain` and `cxr-kd predict` write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_kd.errors import ModelError, ReportError

if TYPE_CHECKING:
    import numpy as np


FIGURE = "maps.png"
LONGEST = 120  # bytes of an image's name that its figure's name keeps
SHOWN = 3  # findings of the highest logits, if none is named


def check_findings(known: Sequence[str], asked: Sequence[str]) -> None:
    """Raise ModelError for a finding that is asked for and that the network does not have."""
    if unknown := [name for name in asked if name not in known]:
        raise ModelError(f"the network has no finding {unknown[0]!r}; it has: {', '.join(known)}")


def choose_findings(known: Sequence[str], asked: Sequence[str], logits: np.ndarray) -> list[str]:
    """Return the findings to show of one image: those asked for, or those of the SHOWN highest logits (L,)."""
    if asked:
        return list(dict.fromkeys(asked))
    return [known[column] for column in (-logits).argsort(kind="stable")[:SHOWN]]


def figure_names(files: Sequence[Path]) -> list[str]:
    """Return NAME-maps.png for each file, with a number if several files have the same name; long names are cut."""
    names: list[str] = []
    taken: set[str] = set()
    for file in files:
        stem = os.fsencode(file.stem)[:LONGEST].decode("utf-8", "ignore")
        wanted, number = f"{stem}-{FIGURE}", 1
        while wanted.lower() in taken:  # some disks do not tell A from a
            number += 1
            wanted = f"{stem}-{number}-{FIGURE}"
        taken.add(wanted.lower())
        names.append(wanted)
    return names


def text_of(path: Path | str) -> str:
    """Return a path as text that can be written: names on a disk need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def check_free(out: Path, names: Iterable[str], files: Sequence[Path], overwrite: bool, option: str = "--out") -> None:
    """Raise ReportError if the files `names` cannot be written to the folder that the user gave with `option`."""
    if out.exists() and not out.is_dir():
        raise ReportError(f"{out} is a file: give a folder with {option}")
    there = [out / name for name in names if (out / name).exists()]
    if own := {path.resolve() for path in there} & {file.resolve() for file in files}:
        raise ReportError(f"{min(own)} is one of the images and would be overwritten: choose another {option}")
    if there and not overwrite:
        raise ReportError(f"{there[0]} exists: choose another {option}, or replace it with --overwrite")


def draw_maps(
    path: Path,
    image: np.ndarray,
    known: Sequence[str],
    shown: Sequence[str],
    logits: np.ndarray,
    evidence: np.ndarray,
    *,
    title: str,
    note: str,
) -> None:
    """Write the figure of an image (S, S): the radiograph beside the maps of the `shown` findings of the `known` ones.

    logits (L,), evidence (L, h, w).
    """
    from cxr_kd.report.maps.overlays import Overlay, overlay_figure
    from cxr_kd.report.pictures import keep
    from cxr_kd.report.style import finding_name

    panels = [Overlay("radiograph")]
    for column in map(known.index, shown):
        told = f"{finding_name(known[column])}, logit {logits[column]:+.2f}".replace("-", "\N{MINUS SIGN}")
        panels.append(Overlay(told, evidence[column]))
    title = "".join(letter if letter.isprintable() else "?" for letter in title).replace("$", r"\$")
    keep(overlay_figure(image, panels, title, note.replace("$", r"\$")), path)
