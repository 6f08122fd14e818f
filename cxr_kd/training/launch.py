"""One training over several processes, started from a notebook."""

import os
import socket
from pathlib import Path

from cxr_kd.data.prepare import Prepared
from cxr_kd.errors import StudyError
from cxr_kd.study import Study
from cxr_kd.study.runs import Run
from cxr_kd.training.run import train


def train_over(processes: int, study: Study, run: Run, data: Prepared) -> Path:
    """Call `training.run.train` in this many processes, one per graphics card if there are any; return the run folder.

    In a shell, `accelerate launch` with `cxr-kd train` or `cxr-kd distill` does the same. Raises StudyError for less
    than one process.
    """
    if processes < 1:
        raise StudyError(f"processes is {processes}: use at least 1; with several graphics cards, one per card")
    if processes == 1:
        return train(study, run, data)
    from accelerate import notebook_launcher

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    notebook_launcher(train, (study, run, data), num_processes=processes, use_port=port)
    return study.run_folder(run)
