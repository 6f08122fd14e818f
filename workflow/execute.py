"""Run one notebook through papermill and export it as HTML. Both files are written at the end, or neither.

usage: execute.py NOTEBOOK EXECUTED.ipynb EXECUTED.html PARAMETERS_AS_JSON
"""

import json
import os
import signal
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("TQDM_DISABLE", "1")  # bars are for people at a notebook; a batch prints one line per epoch

import kernel
import nbformat
import papermill
from filelock import FileLock, Timeout
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from cxr_kd import errors
from cxr_kd.files import check_room, disk_errors, locked, written_whole
from cxr_kd.report.notebook_page import notebook_page
from cxr_kd.study import load_study

ROOM = 50_000_000  # bytes: an executed notebook, its page, and the draft of both
KNOWN_ERRORS = {error.__name__ for error in vars(errors).values() if isinstance(error, type)}


def main(notebook: Path, executed: Path, page: Path, parameters: dict[str, Any]) -> None:
    """Execute the notebook and write its document and its page.

    While it runs, its document so far is `NAME.unfinished.ipynb`, beside the result. It is kept if a cell fails, for a
    look at what went wrong, and removed if the user stops it.
    """
    draft, lock = _draft(executed), _lock(executed)
    check_room(executed.parent, ROOM, f"the executed notebook {executed.stem}")
    # If only Snakemake was killed, its notebook still runs: wait for that one, do not write over it.
    with disk_errors(executed.parent), locked(lock, f"{executed.stem} is running already; waiting for it"):
        try:
            remove_left_overs(executed.parent, but=lock)
            run(notebook, draft, parameters)
            document = nbformat.read(draft, as_version=4)
            title = load_study(parameters["study"]).title
            with written_whole(page) as temporary:
                temporary.write_text(notebook_page(document, title), encoding="utf-8")
            os.replace(draft, executed)
        except KeyboardInterrupt:
            draft.unlink(missing_ok=True)
            raise
        finally:
            lock.unlink(missing_ok=True)


def run(notebook: Path, draft: Path, parameters: dict[str, Any]) -> None:
    """Execute the notebook in a kernel of its own; exit with a message if a cell fails or the kernel dies."""
    kills = kernel.memory_kills()
    # In a thread of its own, because nbclient takes over the signals of the main thread and hides them.
    with kernel.started_kernel(_owner(draft)) as manager, ThreadPoolExecutor(1) as thread:
        execution = thread.submit(
            papermill.execute_notebook, notebook, draft, parameters, progress_bar=False, km=manager,
            stdout_file=sys.stdout, stderr_file=sys.stderr,
        )  # fmt: skip
        try:
            execution.result()
        except KeyboardInterrupt:
            kernel.stop(manager, execution)
            raise
        except DeadKernelError:
            sys.exit(f"{notebook.name}: {kernel.why_it_ended(manager, kills)}. The notebook so far: {draft}")
        except PapermillExecutionError as error:
            sys.exit(f"{explained(error, notebook.name)}\nThe notebook so far: {draft}")


def explained(error: PapermillExecutionError, name: str) -> str:
    """Return the message of an error that a user can fix; the traceback too if it is a defect of this project."""
    where = f"{name} stopped in cell {error.cell_index}"
    if error.ename in KNOWN_ERRORS:
        return f"{where}: {error.evalue}"
    return "\n".join([*error.traceback, f"{where}: {error.ename}: {error.evalue}"])


def remove_left_overs(folder: Path, *, but: Path) -> None:
    """Remove what killed processes left in a folder: lock files that nobody holds, their drafts, their kernels' files.

    A failed notebook's draft has no lock file any more, so it stays.
    """
    for lock in folder.glob(".*.lock"):
        if lock == but:
            continue
        held = FileLock(lock)
        try:
            held.acquire(timeout=0)
        except Timeout:
            continue
        draft = folder / f"{lock.stem[1:]}.unfinished.ipynb"
        kernel.remove_connection_files(_owner(draft))
        draft.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        held.release()


def _draft(executed: Path) -> Path:
    return executed.with_name(f"{executed.stem}.unfinished.ipynb")


def _lock(executed: Path) -> Path:
    return executed.with_name(f".{executed.stem}.lock")


def _owner(draft: Path) -> str:
    """A short name for one step of one study, the same at every start."""
    return f"{zlib.crc32(str(draft.absolute()).encode()):08x}"


def _stop(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[2]).stem}: stopped; the same command continues from here", file=sys.stderr)
        sys.exit(130)
    except errors.CxrKdError as error:
        sys.exit(f"{Path(sys.argv[2]).stem}: {error}")
