"""The Jupyter kernel of one notebook: started here, so that its files can be removed and its end explained."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.manager import KernelManager

from cxr_kd.files import disk_errors

QUIET = ["--IPKernelApp.log_level=50", "--HistoryManager.hist_file=:memory:"]  # no remarks, no history file
PATIENCE = 10  # seconds that an interrupted kernel has before it is killed
LESS_MEMORY = "try CORES=1, which runs one step at a time, or a smaller batch_size"


@contextmanager
def started_kernel(owner: str) -> Iterator[KernelManager]:
    """Give a running Python kernel; stop it at the end and remove its connection file.

    The connection file lies in a temporary folder named after `owner`. Folders of this owner that a killed process
    left behind are removed first.
    """
    remove_connection_files(owner)
    with disk_errors(Path(tempfile.gettempdir())):
        folder = Path(tempfile.mkdtemp(prefix=_prefix(owner)))
    manager = KernelManager(
        kernel_name="python3",
        connection_file=str(folder / "kernel.json"),
        client_class="jupyter_client.asynchronous.AsyncKernelClient",
    )
    try:
        manager.start_kernel(extra_arguments=QUIET)
        yield manager
    finally:
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
        shutil.rmtree(folder, ignore_errors=True)


def remove_connection_files(owner: str) -> None:
    """Remove the temporary folders of an owner whose process was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_prefix(owner)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def stop(manager: KernelManager, execution: Future) -> None:
    """Interrupt the cell that runs and wait for the execution to end; kill the kernel if that takes too long."""
    manager.interrupt_kernel()
    if wait([execution], timeout=PATIENCE).not_done:
        manager.signal_kernel(signal.SIGKILL)
        wait([execution])


def why_it_ended(manager: KernelManager, kills_before: int | None) -> str:
    """Say what is known of the end of a kernel; `kills_before`: `memory_kills()` when it started.

    A process that is killed because memory ran out gets SIGKILL, as it does from `kill -9`. The system's counter tells
    the two apart, where it can be read.
    """
    status = manager.provisioner.process.poll()
    if status is None or status >= 0:
        return f"its process ended with exit status {status}"
    if status != -signal.SIGKILL:
        return f"its process was ended by {signal.Signals(-status).name}"
    kills = memory_kills()
    if kills is None or kills_before is None:
        return f"its process was killed (SIGKILL); the system does not say why. If memory ran out, {LESS_MEMORY}"
    if kills > kills_before:
        return f"its process was killed because memory ran out: {LESS_MEMORY}"
    return "its process was killed (SIGKILL), and not for lack of memory by the system's own count"


def memory_kills() -> int | None:
    """Return how many processes the system has killed for lack of memory, or None if no counter can be read.

    The counter is that of the control group (a container), or else of the whole machine.
    """
    for counter in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        if counter.is_file():
            counts = dict(line.split()[:2] for line in counter.read_text().splitlines())
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return None


def _prefix(owner: str) -> str:
    return f"cxr-kd-{os.getuid()}-{owner}-"
