"""The work of building a cache: blocks of images, decoded and written one by one, over processes where that pays."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np

from cxr_kd.data.decode import decode
from cxr_kd.data.table import DataError
from cxr_kd.files import write_json

PROCESS_START_SECONDS = 2.0  # until a new Python process with pandas in it is at work


@dataclass(frozen=True)
class Block:
    """Consecutive images, decoded and written together; plain values, so that it travels to a process."""

    folder: Path
    first: int
    paths: tuple[str, ...]
    size: int
    keep_aspect: bool

    @property
    def record(self) -> Path:
        """The file that says that this block is done."""
        return self.folder / "blocks" / f"{self.first:09d}.json"

    def build(self) -> int:
        """Decode and write the images, then record that, with the reason of each that can't be read; their number."""
        images = np.zeros((len(self.paths), self.size, self.size), np.uint8)
        failed: dict[int, str] = {}
        for position, path in enumerate(self.paths):
            try:
                images[position] = decode(Path(path), self.size, self.keep_aspect)
            except DataError as error:
                failed[self.first + position] = str(error).removeprefix(f"{path}: ")
        try:
            self._write(images)
            write_json(self.record, failed)
        except OSError as error:
            raise DataError(f"can't write to {self.folder} ({error}); make room and start again: it goes on") from error
        return len(self.paths)

    def _write(self, images: np.ndarray) -> None:
        target = self.folder / "images.npy"
        offset = np.load(target, mmap_mode="r").offset + self.first * self.size**2
        with target.open("r+b") as file:  # plain writes: a mapping would count as this process's memory
            file.seek(offset)
            file.write(images.data)
            file.flush()
            os.fsync(file.fileno())  # the record must not outlive the pixels


def build_blocks(blocks: list[Block], workers: int, report: Callable[[int], object]) -> None:
    """Build the blocks: here as long as that is soonest done, else over processes."""
    for position, block in enumerate(blocks):
        started = time.perf_counter()
        report(block.build())
        left = (len(blocks) - position - 1) * (time.perf_counter() - started)
        if workers > 1 and left * (1 - 1 / workers) > PROCESS_START_SECONDS:
            _in_processes(blocks[position + 1 :], workers, report)
            return


def _in_processes(blocks: list[Block], workers: int, report: Callable[[int], object]) -> None:
    # spawn: forking a process in which torch has started threads can hang
    pool = ProcessPoolExecutor(min(workers, len(blocks)), get_context("spawn"), end_with_parent)
    try:
        for future in as_completed([pool.submit(block.build) for block in blocks]):
            report(future.result())
    except BrokenProcessPool as error:
        cause = "out of memory, or a script without `if __name__ == '__main__'`"
        raise DataError(f"a decoding process died ({cause}); start again: it goes on") from error
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """End this process when the one that started it is gone: after a `kill -9` it would wait for work for ever."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
