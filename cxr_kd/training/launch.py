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
    """`training.run.train` over so many processes, one a graphics card where there are any; give the run's folder.

    From a shell, `accelerate launch` with `cxr-kd train` or `cxr-kd distill` does the same. Raises StudyError for less
    than one process.
    """
    if processes < 1:
        raise StudyError(f"processes is {processes}: at least 1 trains, on several graphics cards as many as they are")
    if processes == 1:
        return train(study, run, data)
    from accelerate import notebook_launcher

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    notebook_launcher(train, (study, run, data), num_processes=processes, use_port=port)
    return study.run_folder(run)
