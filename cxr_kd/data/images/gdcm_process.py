"""Decode with GDCM in a process of its own, because on damaged files it aborts or faults and ends its process.

The process starts with the first such image, is kept for the next ones, and is started again if it died. It ends with
this process, when its standard input closes.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from cxr_kd.data.images import gdcm_server
from cxr_kd.errors import DataError, StorageError

SECONDS = 60.0  # per image; hundreds of times what a large one takes

_lock = threading.Lock()
# The id of the process that started GDCM's, because a fork must not share its pipes; and GDCM's process.
_process: tuple[int, subprocess.Popen[bytes]] | None = None


def decode(frame: bytes, syntax: str, options: Mapping[str, Any]) -> np.ndarray:
    """Return the stored values (H, W) of a compressed frame; `options` as from pydicom's `as_pixel_options`.

    Raises:
        DataError: if GDCM cannot decode the frame, or ends its process on it.
        StorageError: if its process was killed: over SECONDS, or because the machine had no memory.
    """
    with _lock:
        process, answered = _running(), False
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        try:
            gdcm_server.send(process.stdin, {"syntax": syntax, "options": dict(options)}, frame)
            reply, content = gdcm_server.receive(process.stdout)
            answered = True
        except (OSError, EOFError, ValueError) as error:
            if process.wait() == -signal.SIGKILL:
                raise StorageError(f"GDCM's process was killed: over {SECONDS:g} s, or out of memory") from error
            raise DataError("damaged compressed image: GDCM's process ended on it") from error
        finally:
            timer.cancel()
            if not answered:  # after an interrupt, too: its reply must not be read as that of the next image
                process.kill()
                process.wait()
    if "error" in reply:
        raise DataError(f"compressed image that GDCM cannot decode ({reply['error']})")
    return np.frombuffer(content, reply["dtype"]).reshape(reply["shape"])


def _running() -> subprocess.Popen[bytes]:
    global _process
    if _process is None or _process[0] != os.getpid() or _process[1].poll() is not None:
        quiet = subprocess.DEVNULL  # GDCM's codecs print errors to the terminal
        command = [sys.executable, "-m", gdcm_server.__name__]
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet)
        atexit.register(started.kill)
        _process = os.getpid(), started
    return _process[1]
