"""The run card, `card.json`: what was trained, on what data, by which code, where, and how long it took."""

import importlib.metadata
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from cxr_kd.errors import TrainingError
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.training.distributed import Processes
from cxr_kd.training.job import Job

VERSIONED = ("torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn")
CARD = "card.json"


class RunCard(BaseModel):
    """The content of a run card. `settings_sha256` is `Study.identity`; `files` is the SHA-256 of the run's files.

    `start` says in words what the network's weights were before it was trained.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    study: str
    network: str
    run: str
    role: str
    teacher: str | None
    objective: dict[str, float]
    seed: int
    start: str
    findings: list[str]
    dataset: str
    kind: str
    split: str
    split_sha256: str
    split_sides: dict[str, dict[str, int]]
    parameters: int
    epochs: int
    validation_auroc: float
    seconds: float
    peak_memory_mb: float
    device: str
    processes: int
    versions: dict[str, str]
    git_commit: str | None
    settings_sha256: str
    files: dict[str, str]
    finished: str


def read_card(folder: Path) -> RunCard:
    """Return the card of a finished run; raise TrainingError if there is none or it is damaged."""
    path = folder / CARD
    try:
        return RunCard.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise TrainingError(f"{folder} has no {CARD}: this run is not finished; train it first") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "content"
        raise TrainingError(f"{path} is damaged ({key}: {first['msg']}): train this run again") from error


def card_of(job: Job, model: CxrClassifier, history: list[dict[str, float]], files: dict[str, str]) -> RunCard:
    """Return the card of a run that has just been trained; `history` holds the rows of `fit`."""
    study, run, data, processes = job.study, job.run, job.data, job.processes
    return RunCard(
        study=study.name,
        network=run.network,
        run=run.name,
        role=run.role,
        teacher=run.teacher,
        objective=dict(run.objective),
        seed=run.seed,
        start=model.start,
        findings=list(data.table.findings),
        dataset=data.table.dataset,
        kind=data.table.kind,
        split=data.split.name,
        split_sha256=data.split.sha256,
        split_sides={side: dict(counts) for side, counts in data.split.counts(data.table).items()},
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        epochs=0 if job.published else len(history),
        validation_auroc=max(row["validation_auroc"] for row in history),
        seconds=sum(row["seconds"] for row in history),
        peak_memory_mb=_peak_memory_mb(),
        device=_device(processes),
        processes=processes.count,
        versions={"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in VERSIONED},
        git_commit=_git_commit(),
        settings_sha256=job.identity,
        files=files,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _device(processes: Processes) -> str:
    threads = torch.get_num_threads()
    each = f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    if processes.device.startswith("cuda"):
        each = torch.cuda.get_device_name(processes.device)
    return each if processes.count == 1 else f"{processes.count} x {each}"


def _peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB of 2**20 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _git_commit() -> str | None:
    """Return the commit of the running code, with `+changes` if the tree has uncommitted ones; None if unknown."""
    here = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
