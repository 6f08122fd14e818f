"""Distribute tasks over operating-system processes: blocks of a cache, files to scan, phantoms to draw."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from types import ModuleType
from typing import TypeVar

from PIL import Image

from cxr_kd.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

PROCESS_START_SECONDS = 1.0  # until a new Python process starts to work


def soonest_done(task: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Generator[Result]:
    """Yield `task(item)` of each item, by `over_processes` as soon as starting processes would save time."""
    for position, item in enumerate(items):
        started = time.perf_counter()
        result = task(item)
        left = (len(items) - position - 1) * (time.perf_counter() - started)
        yield result
        if workers > 1 and left * (1 - 1 / workers) > PROCESS_START_SECONDS:
            yield from over_processes(task, items[position + 1 :], workers)
            return


def over_processes(task: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Generator[Result]:
    """Yield `task(item)` of each item, in the order in which they finish, from up to `workers` processes.

    Raises:
        DataError: if a process dies. An exception of a task is raised after the running tasks have ended.
    """
    # spawn: forking a process in which torch has started threads can hang
    pool = ProcessPoolExecutor(min(workers, len(items)), get_context("spawn"), _start_worker)
    try:
        with _without_main():
            futures = [pool.submit(task, item) for item in items]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process died (killed, or out of memory); run the same command again: it continues where it stopped"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the caller's script from processes that start in this context.

    Each of them would import the script again, although no task needs it. That is slow if it imports torch. A script
    without `if __name__ == "__main__"` would even wait for ever for the cache that its parent is building.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends the others
    Image.core.set_blocks_max(2)  # reuse memory for the next image: new pages cost 5 % of the decoding time
    end_with_parent()


def end_with_parent() -> None:
    """End this process when its parent ends; after a `kill -9` of the parent it would wait for work for ever."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
