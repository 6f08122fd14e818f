"""GDCM in a process of its own: on damaged files it aborts or faults, and would take the whole program with it.

The process starts when the first such image is decoded, is kept for the next, and is started anew where it died. It
ends with this one: its standard input closes.
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

SECONDS = 60.0  # for one image: hundreds of times what a large one takes

_lock = threading.Lock()
_process: tuple[int, subprocess.Popen[bytes]] | None = None  # and who started it: a fork must not share its pipes


def decode(frame: bytes, syntax: str, options: Mapping[str, Any]) -> np.ndarray:
    """Return the stored values (H, W) of a compressed frame; `options` as pydicom's `as_pixel_options` gives them.

    Raises:
        DataError: where GDCM can't decode it, or dies of it.
        StorageError: where it is killed: it takes longer than SECONDS, or the machine has no memory for it.
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
            raise DataError("damaged compressed image: GDCM's process died of it") from error
        finally:
            timer.cancel()
            if not answered:  # after an interrupt too: its answer must not be taken for that of the next image
                process.kill()
                process.wait()
    if "error" in reply:
        raise DataError(f"compressed image that GDCM can't decode ({reply['error']})")
    return np.frombuffer(content, reply["dtype"]).reshape(reply["shape"])


def _running() -> subprocess.Popen[bytes]:
    global _process
    if _process is None or _process[0] != os.getpid() or _process[1].poll() is not None:
        quiet = subprocess.DEVNULL  # GDCM's codecs write their complaints straight to the terminal
        command = [sys.executable, "-m", gdcm_server.__name__]
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet)
        atexit.register(started.kill)
        _process = os.getpid(), started
    return _process[1]
