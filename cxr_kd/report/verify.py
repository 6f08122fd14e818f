"""Check a report that somebody was sent, from the files in its folder alone.

Three questions: are the files those that were written? do the results follow from the predictions? do the pages say
what the results say? What no file can show is whether the predictions are those of the networks: `make study` trains
them again.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from cxr_kd.errors import CxrKdError, ReportError
from cxr_kd.evaluation import across, details, study_results
from cxr_kd.evaluation.ablation import FILES as ABLATION
from cxr_kd.evaluation.ablation import compare_ablation
from cxr_kd.explanation import map_tables
from cxr_kd.files import sha256_of, write_csv
from cxr_kd.report.crate import NAME, described_code, described_files
from cxr_kd.report.page import NOTEBOOK_LIST, make_pages
from cxr_kd.report.page_files import FOLDER as DRAWN
from cxr_kd.report.study_copy import FOLDER as COPY
from cxr_kd.report.study_files import read_study_files
from cxr_kd.study import Study, load_study
from cxr_kd.study.steps import code_sha256

RELATIVE, ABSOLUTE = 1e-6, 1e-9  # between two processors; a bootstrap draws the same resamples on all of them
UNDESCRIBED = ("notebooks/",)  # the last of them is executed after the page is written
MOST = 5  # differences that are listed of one file
CONTEXT, LONGEST = 8, 160  # words that are quoted before a difference, characters of it
OTHER_CODE = (
    "The report was written by another version of cxr_kd, so its pages were not written again to compare them; "
    "index.html names the commit under 'Run it again'"
)
NOT_SHARED = "The predictions are not in the report (setting share_predictions), so no result was computed again"
_PICTURE = re.compile(r'"data:[^"]*"')  # an attribute: the study file in the page has a key `data:` too
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Check:
    """One question about a report: what was found, what is wrong, and why it could not be asked, if so."""

    found: str
    problems: Sequence[str] = ()
    open: str = ""


def verify_report(folder: Path) -> list[Check]:
    """Return the three checks of a report's folder. Raises ReportError if it is no report."""
    described = described_files(folder)
    try:
        study = load_study(_study_file(folder))
        others = [_results(study), _pages(study, folder)]
    except (CxrKdError, OSError, ValueError, KeyError) as error:
        others = [Check("", [f"{COPY}/ cannot be read: {error}"])]
    return [_unchanged(folder, described), *others]


def _study_file(folder: Path) -> Path:
    found = sorted((folder / COPY / "studies").glob("*.yaml"))
    if len(found) != 1:
        raise ReportError(f"studies/ in it holds {len(found)} study files; one is needed")
    return found[0]


def _unchanged(folder: Path, described: Mapping[str, str]) -> Check:
    """Is every file there, as it was written, and no other one?"""
    problems, known = [], {NAME, *described}
    for name, sha256 in described.items():
        if not (folder / name).is_file():
            problems.append(f"{name}: described in {NAME}, but not there")
        elif sha256_of(folder / name) != sha256:
            problems.append(f"{name}: changed since the report was written (another SHA-256)")
    for path in sorted(folder.rglob("*")):
        beside = path.relative_to(folder).as_posix()
        if path.is_file() and beside not in known and not beside.startswith(UNDESCRIBED):
            problems.append(f"{beside}: not described in {NAME}")
    return Check(f"{len(described)} files are as they were written", problems)


def _results(study: Study) -> Check:
    """Do the tables follow from the predictions?"""
    if not study.predictions_are_shared:
        return Check("", open=NOT_SHARED)
    problems = []
    with TemporaryDirectory() as home:
        shutil.copytree(study.home, home, dirs_exist_ok=True)
        again = load_study(Path(home) / "studies" / study.file.name)
        names = list(_computed(again))
        for name in names:
            sent = study.runs_folder / name
            shown = f"{COPY}/{sent.relative_to(study.home).as_posix()}"
            problems += [f"{shown}: {each}" for each in _differences(sent, again.runs_folder / name)]
    return Check(f"{len(names)} tables of results follow from the predictions", problems)


def _computed(study: Study) -> Iterator[str]:
    """Compute a study's tables again, as far as predictions and values of maps say them; yield the name of each."""
    study_results.write_results(study)
    details.write_details(study)
    across.write_across(study)
    folder, maps = study.runs_folder, study.runs_folder / map_tables.FOLDER
    written = [*study_results.COLUMNS, *study_results.SOURCE_COLUMNS, *details.FILES, *across.FILES]
    yield from (name for name in written if (folder / name).is_file())
    if study.ablation:
        write_csv(folder / ABLATION[0], compare_ablation(study))
        yield ABLATION[0]
    if (maps / map_tables.PAIRS).is_file():
        values = pd.read_parquet(maps / map_tables.PAIRS)
        write_csv(maps / "maps.csv", map_tables.map_estimates(values, study.evaluation))
        yield f"{map_tables.FOLDER}/maps.csv"


def _differences(sent: Path, again: Path) -> list[str]:
    """Return where a table differs from the one that was computed again, at most MOST places."""
    if not sent.is_file():
        return ["not there, although the predictions give it"]
    first, second = (pd.read_csv(path, keep_default_na=False, dtype=str) for path in (sent, again))
    if list(first) != list(second) or len(first) != len(second):
        return [f"{len(first)} rows and {len(first.columns)} columns; the predictions give {len(second)} and "
                f"{len(second.columns)}, or columns of other names"]  # fmt: skip
    differ = [~_same(first[column], second[column]) for column in first]
    places = np.argwhere(np.column_stack(differ))
    found = [
        f"row {row + 1}, {first.columns[column]}: {first.iat[row, column]!r}; the predictions give "
        f"{second.iat[row, column]!r}"
        for row, column in places
    ]
    return _shortened(found)


def _same(first: pd.Series, second: pd.Series) -> np.ndarray:
    """Which cells have the same text or, to within rounding, the same number."""
    found, wanted = (pd.to_numeric(column, errors="coerce").to_numpy(float) for column in (first, second))
    same: np.ndarray = (first == second).to_numpy() | np.isclose(found, wanted, rtol=RELATIVE, atol=ABSOLUTE)
    return same


def _pages(study: Study, folder: Path) -> Check:
    """Do page, guidelines, methods, and the tables of its figures say what the results say?"""
    if described_code(folder) != code_sha256():
        return Check("", open=OTHER_CODE)
    pages = make_pages(study, read_study_files(study), draws=False)
    tables = {f"{DRAWN}/{name}": text.decode() for name, text in pages.drawn.files.items() if name.endswith(".csv")}
    problems = []
    for name, text in {**pages.texts, **tables}.items():
        path = folder / name
        sent = path.read_text(encoding="utf-8") if path.is_file() else ""
        problems += [f"{name}: {each}" for each in _shortened(list(_changes(_lines(sent), _lines(text))))]
    return Check(f"{len(pages.texts)} pages and {len(tables)} tables say what the results say", problems)


def _changes(sent: list[str], again: list[str]) -> Iterator[str]:
    """Say where a text differs: what stands there, and what should; with the words before it."""
    if sent == again:
        return
    for kind, start, end, first, last in SequenceMatcher(None, sent, again, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        found, wanted = (_words(" ".join(lines)) for lines in (sent[start:end], again[first:last]))
        before = _shared(found, wanted)
        after = _shared(found[before:][::-1], wanted[before:][::-1])
        place = f"after {_quoted(found[max(0, before - CONTEXT) : before])} " if before else ""
        parts = (_quoted(words[before : len(words) - after]) for words in (found, wanted))
        yield "{}stands {}; the results give {}".format(place, *parts)


def _shared(first: list[str], second: list[str]) -> int:
    """How many words both begin with."""
    return next((n for n, (one, other) in enumerate(zip(first, second, strict=False)) if one != other),
                min(len(first), len(second)))  # fmt: skip


def _lines(text: str) -> list[str]:
    """The lines of a page without its pictures, and without the list of notebooks, which need not have been sent."""
    return [line for line in _PICTURE.sub("", NOTEBOOK_LIST.sub("", text)).splitlines() if line.strip()]


def _words(markup: str) -> list[str]:
    """The words that a reader sees, as they are parted by blanks or, in a table, by commas."""
    return re.split(r"[\s,]+", unescape(_TAG.sub(" ", markup)).strip())


def _quoted(words: list[str]) -> str:
    text = " ".join(words)
    return f"'{text[:LONGEST]}{'...' if len(text) > LONGEST else ''}'" if text else "nothing"


def _shortened(found: list[str]) -> list[str]:
    return found if len(found) <= MOST else [*found[:MOST], f"and {len(found) - MOST} more"]
