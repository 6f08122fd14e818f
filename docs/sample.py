"""Write a sample of a study's report, docs/samples/STUDY.html, for people who have not run anything yet.

usage: python docs/sample.py STUDY [--limit-mb MB]

Run it after `make study STUDY=...`. The sample is one file: the report without links to the executed notebooks and
to files of figures and tables, and with a line at its top that says when and from which commit the study was trained.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import escape

from cxr_kd.errors import CxrKdError, ReportError
from cxr_kd.files import written_whole
from cxr_kd.report.page import NOTEBOOK_LIST
from cxr_kd.report.study_files import StudyFiles, read_study_files
from cxr_kd.study import Study, load_study
from cxr_kd.study.data_settings import OPEN_DATA

SAMPLES = Path(__file__).resolve().parent / "samples"
LIMIT_MB = 4.5  # MB of 10**6 bytes: a repository keeps every version of a sample for ever
WITHOUT_NOTEBOOKS = "<p>The executed notebooks are not part of this sample. The command above writes them.</p>"
RESULTS = ("evaluations.csv", "comparisons.csv", "device.csv", "exported.csv", "familiar.csv",
           "explanations/explanations.json")  # fmt: skip

_FILES = re.compile(r'<span class="files[^"]*">.*?</span>', re.DOTALL)
_BESIDE = re.compile(r'<p class="beside">.*?</p>', re.DOTALL)  # links to the files beside the report
_LINK = re.compile(r'href="((?!#|https://)[^"]+)"')  # to a file beside the report
_HEADER = "<header>"


def write_sample(study: Study, folder: Path = SAMPLES, limit_mb: float = LIMIT_MB) -> Path:
    """Write `folder/STUDY.html` and return its path.

    Raises ReportError if the study's images must not be published, if its report is missing, incomplete or older than
    its results, if the commit is not known, or if the sample is larger than `limit_mb`, in MB of 10**6 bytes.
    """
    if study.data.dataset not in OPEN_DATA:
        raise ReportError(
            f"{study.file}: a sample shows radiographs, and those of {study.data.dataset!r} must not be published; "
            f"samples are made of studies of {', '.join(OPEN_DATA)}"
        )
    files, page = read_study_files(study), study.report_folder / "index.html"
    html = _report(study, files, page)
    note = escape(origin(study, files.cards, sorted(set(files.cost["cpu"]))))
    html = html.replace(_HEADER, f'{_HEADER}\n  <p class="callout">{note}</p>', 1)
    for beside in (_FILES, _BESIDE):
        html = beside.sub("", html)
    html = NOTEBOOK_LIST.sub(WITHOUT_NOTEBOOKS, html)
    if dead := _LINK.findall(html):
        raise ReportError(f"{page}: links to {dead[0]}, which the sample does not have; make the report again")
    if len(html.encode()) > limit_mb * 1e6:
        raise ReportError(
            f"{page}: its sample would have {len(html.encode()) / 1e6:.1f} MB, more than the {limit_mb:g} MB allowed; "
            "choose a study with fewer pictures (`explanation: images`), or give --limit-mb"
        )
    target = folder / f"{study.name}.html"
    with written_whole(target) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return target


def _report(study: Study, files: StudyFiles, page: Path) -> str:
    """Return the report's HTML after checking that it is there, belongs to the results, and cites the data."""
    again = f"run `{command(study)}`"
    if not page.is_file():
        raise ReportError(f"{page}: there is no such file; {again} first")
    cards = [study.run_folder(run) / "card.json" for run in study.all_runs]
    for source in [*cards, *(study.runs_folder / name for name in RESULTS)]:
        if source.stat().st_mtime > page.stat().st_mtime:
            raise ReportError(f"{page}: older than {source}; {again} again")
    html = page.read_text(encoding="utf-8")
    if _HEADER not in html or "</html>" not in html:
        raise ReportError(f"{page}: not a whole report of this version; remove it and {again} again")
    if str(escape(citation := files.data["source"]["citation"])) not in html:
        raise ReportError(f"{page}: does not cite its data ({citation}); {again} again")
    return html


def origin(study: Study, cards: Mapping[str, Mapping[str, Any]], cpus: list[str]) -> str:
    """Return when, from which commit, by which command and how long a study was trained, from its run cards."""
    if unknown := [run for run, card in cards.items() if not card["git_commit"]]:
        raise ReportError(
            f"{study.runs_folder / unknown[0]}: its card names no commit, because it was not trained in a git "
            "checkout; remove this folder and train it in one"
        )
    commits = {_short(str(card["git_commit"])) for card in cards.values()}
    devices = {str(card["device"]) for card in cards.values()}
    minutes = sum(card["seconds"] for card in cards.values()) / 60
    return (
        f"Sample made on {max(str(card['finished']) for card in cards.values())[:10]} from commit "
        f"{' and '.join(sorted(commits))} by `{command(study)}`; its {len(cards)} trainings took "
        f"{minutes:,.{0 if minutes >= 10 else 1}f} minutes on {' and '.join(sorted(devices))} ({', '.join(cpus)})."
    )


def _short(commit: str) -> str:
    name, changed, _ = commit.partition("+changes")
    return f"{name[:12]}{' with uncommitted changes' if changed else ''}"


def command(study: Study) -> str:
    """Return the command that runs a study."""
    return f"make study STUDY=studies/{study.file.name}{'' if study.data.dataset == 'phantom' else ' DATA=DIR'}"


def main() -> None:
    """Write the sample of the study that the command line names."""
    parser = argparse.ArgumentParser(description="Write docs/samples/STUDY.html from the report of a study.")
    parser.add_argument("study", help="a study's file, or the name of one in studies/")
    parser.add_argument("--limit-mb", type=float, default=LIMIT_MB, help="largest size, in MB (default: %(default)s)")
    given = parser.parse_args()
    try:
        target = write_sample(load_study(given.study), limit_mb=given.limit_mb)
    except CxrKdError as error:
        sys.exit(str(error))
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
