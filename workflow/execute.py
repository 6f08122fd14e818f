"""Run one notebook through papermill and export it to HTML: both files are written at the end, or neither.

usage: execute.py NOTEBOOK EXECUTED.ipynb EXECUTED.html PARAMETERS_AS_JSON
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")  # bars are for people at a notebook; a batch prints one line an epoch

import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from cxr_kd.files import locked, written_whole


def main(notebook: str, executed: Path, page: Path, parameters: dict) -> None:
    # Beside the result, and kept when a cell fails: it is what one looks at to find out why.
    draft = executed.with_name(f"{executed.stem}.unfinished.ipynb")
    draft.parent.mkdir(parents=True, exist_ok=True)
    # Where Snakemake alone was killed, its notebook still runs: wait for that one rather than write over it.
    with locked(executed.with_name(f".{executed.stem}.lock"), f"{notebook} is running already; waiting for it"):
        run(notebook, draft, parameters)
        html, _ = HTMLExporter(embed_images=True).from_filename(str(draft))
        with written_whole(page) as temporary:
            temporary.write_text(html, encoding="utf-8")
        os.replace(draft, executed)


def run(notebook: str, draft: Path, parameters: dict) -> None:
    try:
        papermill.execute_notebook(
            notebook,
            draft,
            parameters,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            extra_arguments=["--IPKernelApp.log_level=50"],  # its remarks on how it listens and ends are no news
        )
    except DeadKernelError:
        sys.exit(
            f"{Path(notebook).name}: its process was killed, as systems do when memory runs out: try CORES=1, which "
            f"runs one step at a time, or a smaller batch_size"
        )
    except PapermillExecutionError as error:
        sys.exit(
            f"{Path(notebook).name} stopped in cell {error.cell_index}: {error.ename}: {error.evalue}\n"
            f"The notebook as far as it came: {draft}"
        )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
