"""Start a study, or JupyterLab on the notebooks: `make study` and `make lab` run this.

usage: start.py study STUDY [options of Snakemake]
       start.py lab [options of JupyterLab]

Paths reach Snakemake and the notebooks as they were given, without a shell that could read them as commands.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from snakemake.cli import main as snakemake

HERE = Path(__file__).resolve().parent


def run_study(study: str, options: list[str]) -> None:
    """Run every step of a study that is not done yet, and say where its report is."""
    interrupted = []
    signal.signal(signal.SIGINT, lambda number, frame: (interrupted.append(number), _interrupt()))
    try:
        snakemake(
            ["--snakefile", str(HERE / "Snakefile"), "--profile", str(HERE / "profiles" / "local"), "--logger", "steps"]
            # JSON, because Snakemake reads the value as YAML: a study called 010 or a: b would not stay a text.
            + [*options, "--config", f"study={json.dumps(study)}"]
        )
    except KeyboardInterrupt:
        pass
    except SystemExit as end:
        if end.code and not interrupted:
            sys.exit(end.code if isinstance(end.code, str) else f"\nThe study is not complete. {AGAIN}")
    if interrupted:
        print(f"\nStopped. {AGAIN}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


AGAIN = "The same command continues from here: finished runs and epochs are kept."


def _interrupt() -> None:
    raise KeyboardInterrupt


def run_lab(options: list[str]) -> None:
    """Open JupyterLab on the notebooks; as root, as in a container, where Jupyter asks to be told so."""
    root = ["--allow-root"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", str(HERE.parent / "notebooks"), *root, *options]
    sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    # Notebooks run in folders of their own: a relative folder is meant from here.
    if os.environ.get("CXR_KD_DATA"):
        os.environ["CXR_KD_DATA"] = os.path.abspath(os.environ["CXR_KD_DATA"])
    match sys.argv[1:]:
        case ["study", study, *options]:
            run_study(study, options)
        case ["lab", *options]:
            run_lab(options)
        case _:
            sys.exit(__doc__)
