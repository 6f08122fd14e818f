"""The report's description of its own run for machines: `ro-crate-metadata.json` (RO-Crate 1.2, Process Run Crate).

It names the data, the code, the versions, the settings and every file of the report with its SHA-256.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from cxr_kd import __version__
from cxr_kd.errors import ReportError
from cxr_kd.files import read_json, sha256_of, write_json
from cxr_kd.report.study_copy import FOLDER as COPY
from cxr_kd.report.study_files import StudyFiles
from cxr_kd.study import Study
from cxr_kd.study.steps import code_sha256

NAME = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
SOFTWARE, DATA, RUN = "#cxr_kd", "#data", "#run"
_KINDS = {".md": "text/markdown", ".bib": "application/x-bibtex", ".yaml": "application/yaml",
          ".parquet": "application/vnd.apache.parquet", ".webp": "image/webp"}  # fmt: skip


def write_crate(study: Study, files: StudyFiles, folder: Path, names: Iterable[str]) -> None:
    """Write NAME into a report's folder, about its files `names` (paths in the folder), which are there already."""
    crate = ROCrate(version="1.2")
    cards = list(files.cards.values())
    crate.name, crate.description = study.title, study.question
    crate.datePublished = max(str(card["finished"]) for card in cards)
    described = {
        name: crate.add_file(folder / name, name, properties=_of_file(folder / name)) for name in sorted(names)
    }
    crate.mainEntity = described["index.html"]
    software = _add(crate, SOFTWARE, "SoftwareApplication", {
        "name": "cxr_kd", "softwareVersion": __version__, "sha256": code_sha256(),
        "description": "The code that wrote this report. The networks were trained with the commits that follow.",
        "version": sorted({str(card["git_commit"] or "not in a git checkout") for card in cards}),
    })  # fmt: skip
    software["softwareRequirements"] = [
        _add(crate, f"#{name}-{version}", "SoftwareApplication", {"name": name, "softwareVersion": version})
        for name, version in sorted({(n, str(v)) for card in cards for n, v in card["versions"].items()})
    ]
    source = files.data["source"]
    data = _add(crate, DATA, "Dataset", {
        "name": source.get("name", study.data.dataset), "creditText": source.get("citation", ""),
        "license": source.get("licence", ""), "identifier": files.data["identity"],
        "description": f"{files.data['images']:,} images of {files.data['patients']:,} patients; split "
                       f"{files.data['split']['name']}, SHA-256 of its image ids {files.data['split']['sha256']}",
    })  # fmt: skip
    settings = described[f"{COPY}/studies/{study.file.name}"]
    crate.root_dataset.append_to("mentions", _add(crate, RUN, "CreateAction", {
        "name": f"make study STUDY=studies/{study.file.name}", "endTime": crate.datePublished.isoformat(),
        "instrument": software, "object": [data, settings],
        "result": [entity for entity in described.values() if entity is not settings],
    }))  # fmt: skip
    profile = {"name": "Process Run Crate", "version": PROFILE.rpartition("/")[2]}
    crate.root_dataset["conformsTo"] = _add(crate, PROFILE, "CreativeWork", profile)
    write_json(folder / NAME, crate.metadata.generate())


def described_files(folder: Path) -> dict[str, str]:
    """Return path in the folder -> SHA-256 of every file that the description of a report names.

    Raises ReportError if there is no such description, or if it is not one of a report.
    """
    return {
        entity["@id"]: entity["sha256"] for entity in _graph(folder) if "File" in entity["@type"] and "sha256" in entity
    }


def described_code(folder: Path) -> str:
    """Return the SHA-256 of the code that wrote a report. Raises ReportError as `described_files` does."""
    return str(next((entity["sha256"] for entity in _graph(folder) if entity["@id"] == SOFTWARE), ""))


def _graph(folder: Path) -> list[Mapping[str, Any]]:
    path = folder / NAME
    if not path.is_file():
        raise ReportError(
            f"{path}: there is no such file, so {folder} is no report of this version; give the folder of index.html, "
            "or write the report again: cxr-kd report STUDY"
        )
    try:
        graph: list[Mapping[str, Any]] = read_json(path)["@graph"]
        kinds = {entity["@id"]: entity["@type"] for entity in graph}
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path}: not the description of a report ({error!r})") from error
    if SOFTWARE not in kinds:
        raise ReportError(f"{path}: not the description of a report (it does not name {SOFTWARE})")
    return graph


def _of_file(path: Path) -> dict[str, Any]:
    kind = _KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {"encodingFormat": kind, "contentSize": str(path.stat().st_size), "sha256": sha256_of(path)}


def _add(crate: ROCrate, identifier: str, kind: str, properties: Mapping[str, Any]) -> ContextEntity:
    filled = {"@type": kind, **{key: value for key, value in properties.items() if value}}
    return crate.add(ContextEntity(crate, identifier, properties=filled))
