"""Run Python code in a process of its own and measure its memory: for files that must be refused cheaply."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MOST_MIB = 1000
_PROGRAM = """
import json, sys
from pathlib import Path
from cxr_kd.errors import DataError
path = Path(sys.argv[1])
try:
    {code}
    told = ""
except DataError as error:
    told = str(error)
# Not ru_maxrss, which a new process takes over from the one that started it, here the whole test session.
(line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
peak = int(line.split()[1]) // 1024
print(json.dumps([told, peak]))
"""


def refused(path: Path, code: str) -> str:
    """Return the message of the DataError that `code` raises for `path`, "" if it raises none.

    Fails if the process took over MOST_MIB of memory, or did not end within two minutes.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc here to measure the memory of a process with")
    command = [sys.executable, "-c", _PROGRAM.format(code=code), str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told, peak_mib = json.loads(ended.stdout)
    assert peak_mib < MOST_MIB, f"{path.name}: {peak_mib} MiB"
    return told
