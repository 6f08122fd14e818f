"""A run's card: what was trained, on what, with what, where, and at what cost."""

import importlib.metadata
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study import Study
from cxr_kd.study.runs import Run
from cxr_kd.training.distributed import Processes

VERSIONED = ("torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn")


def card_of(
    study: Study,
    run: Run,
    data: Prepared,
    identity: str,
    history: list[dict[str, float]],
    model: CxrClassifier,
    processes: Processes,
) -> dict[str, Any]:
    """The content of `card.json`; `identity` is `Study.identity`, `history` the rows of `fit`."""
    return {
        "study": study.name,
        "network": run.network,
        "run": run.name,
        "role": run.role,
        "teacher": run.teacher,
        "objective": dict(run.objective),
        "seed": run.seed,
        "findings": list(data.table.findings),
        "dataset": data.table.dataset,
        "kind": data.table.kind,
        "split": data.split.name,
        "split_sha256": data.split.sha256,
        "split_sides": data.split.counts(data.table),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": len(history),
        "validation_auroc": max(row["validation_auroc"] for row in history),
        "seconds": sum(row["seconds"] for row in history),
        "peak_memory_mb": _peak_memory_mb(),
        "device": _device(processes),
        "processes": processes.count,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in VERSIONED},
        },
        "git_commit": _git_commit(),
        "settings_sha256": identity,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _device(processes: Processes) -> str:
    each = f"CPU, {torch.get_num_threads()} threads"
    if processes.device.startswith("cuda"):
        each = torch.cuda.get_device_name(processes.device)
    return each if processes.count == 1 else f"{processes.count} x {each}"


def _peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB of 2**20 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _git_commit() -> str | None:
    """The commit of the code that runs, with `+changes` where the tree has some; None outside a checkout."""
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
