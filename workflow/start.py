"""Start a study, or JupyterLab on the notebooks: `make study` and `make lab` run this.

usage: start.py study STUDY [options of Snakemake]
       start.py lab [options of JupyterLab]

Paths reach Snakemake and the notebooks as they were given, without a shell that could read them as commands.
"""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from snakemake.cli import main as snakemake
from snakemake_logger_plugin_steps import STOPPED

from cxr_kd.errors import CxrKdError
from cxr_kd.study import load_study

# glibc gives large blocks back to the system as soon as they are free, and a training asks for the same ones in every
# batch. Kept, a step takes about a seventh less time (`benchmarks/memory_reuse.py`). Other C libraries ignore this.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
HERE = Path(__file__).resolve().parent
AGAIN = "The same command continues from here: finished runs and epochs are kept."


def run_study(name: str, options: list[str]) -> None:
    """Run every step of a study that is not done yet, and say where its report is."""
    try:
        study = load_study(name)
    except CxrKdError as error:
        sys.exit(str(error))
    end = _snakemake(study.file, options)
    if STOPPED.is_set():
        print(f"\nStopped. {AGAIN}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    if end:
        sys.exit(end if isinstance(end, str) else f"\nThe study is not complete. {AGAIN}")
    page = study.report_folder / "index.html"
    if page.exists():
        print(f"\nThe report: {page} (open it in a browser)")


def _snakemake(file: Path, options: list[str]) -> str | int | None:
    """Run Snakemake in this process; return its exit status or message. Ctrl-C sets STOPPED."""
    signal.signal(signal.SIGINT, _stop)
    # Ctrl-C may meet one of Snakemake's asyncio tasks; asyncio would report the task's end long after "Stopped".
    logging.getLogger("asyncio").addFilter(lambda _: not STOPPED.is_set())
    profile = str(HERE / "profiles" / "local")
    # Not by --config, which reads a path as YAML: one with a colon and a space in it would not stay a text.
    os.environ["CXR_KD_STUDY"] = str(file)
    try:
        snakemake(["--snakefile", str(HERE / "Snakefile"), "--profile", profile, "--logger", "steps", *options])
    except KeyboardInterrupt:
        return None
    except SystemExit as end:
        return end.code
    return None


def _stop(*_: object) -> None:
    STOPPED.set()
    raise KeyboardInterrupt


def run_lab(options: list[str]) -> None:
    """Open JupyterLab on the notebooks. Jupyter starts as root, as in a container, only when it is allowed to."""
    root = ["--allow-root"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", str(HERE.parent / "notebooks"), *root, *options]
    sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)
    # Notebooks run in other folders, so a relative path of the data must become absolute here.
    if os.environ.get("CXR_KD_DATA"):
        os.environ["CXR_KD_DATA"] = os.path.abspath(os.environ["CXR_KD_DATA"])
    match sys.argv[1:]:
        case ["study", study, *options]:
            run_study(study, options)
        case ["lab", *options]:
            run_lab(options)
        case _:
            sys.exit(__doc__)
