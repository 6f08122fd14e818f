"""Speed of building the cache from 1024x1024 PNGs, compared with decoding alone and with the usual loop.

Three sides are measured in turn: `build_cache` at 224 px over two processes; two processes that only decode (Pillow's
open and load of the same files); one process with the loop that most code has (open, to RGB, resize to 256). `ratio` is
images/s of the first side over images/s of the second, which is its limit. `detail` holds the ratio to the loop and
whether both ratios reach their bars. The steady state is compared: the processes that decode alone have started before,
so the time in which as many new processes start and decode one image each is subtracted from the build. `detail` holds
that time, and the ratio without the subtraction.

The files are phantoms with lowered contrast, so that one takes about 400 kB, as a file of ChestX-ray14 does. Each file
has many names (hard links), because the processor is measured and not the disk.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from PIL import Image

from cxr_kd.data.cache import build_cache
from cxr_kd.data.cache_blocks import BLOCK
from cxr_kd.data.images.decode import decode
from cxr_kd.data.parallel import over_processes
from cxr_kd.data.readers.phantom import PhantomSettings, draw
from cxr_kd.data.table import CxrTable
from cxr_kd.device.latency import cpu_name

BAR, LOOP_BAR = 0.85, 2.0
SIZE, SOURCE_SIZE, CONTRAST = 224, 1024, 0.6
WORKERS = 2


def write_files(root: Path, images: int, phantoms: int) -> CxrTable:
    settings = PhantomSettings(images=max(phantoms, 20), size=SOURCE_SIZE)
    names = [f"{number:05d}.png" for number in range(images)]
    for number, name in enumerate(names):
        if number < phantoms:
            softer = draw(settings, number).image * CONTRAST + 128 * (1 - CONTRAST)
            Image.fromarray(softer.astype(np.uint8)).save(root / name)
        else:
            os.link(root / names[number % phantoms], root / name)
    frame = pd.DataFrame({"image_id": names, "path": names, "patient_id": names, "view": "PA", "age": np.nan})
    return CxrTable("phantom", "phantom", root, frame.assign(sex="", Mass=0.0), ("Mass",))


def decode_alone(paths: list[Path]) -> float:
    """Open and load the files; return the seconds of processor time."""
    start = time.process_time()
    for path in paths:
        with Image.open(path) as image:
            image.load()
    return time.process_time() - start


def usual_loop(paths: list[Path]) -> None:
    for path in paths:
        np.asarray(Image.open(path).convert("RGB").resize((256, 256)))


def build(table: CxrTable) -> None:
    with tempfile.TemporaryDirectory() as folder:
        build_cache(table, Path(folder), SIZE, workers=WORKERS, progress=False)


def spent(call: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of wall time and of processor time, with that of processes that start and end in the call."""
    wall, processor = time.perf_counter(), sum(os.times()[:4])
    call()
    return time.perf_counter() - wall, sum(os.times()[:4]) - processor


def measure(table: CxrTable, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Return (wall, processor) seconds of each side, once per repeat; the loop reads a sixteenth of the images."""
    paths = [table.root / path for path in table.frame["path"]]
    parts = [paths[first : first + BLOCK] for first in range(0, len(paths), BLOCK)]
    times: dict[str, list[tuple[float, float]]] = {"alone": [], "build": [], "start": [], "loop": []}
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        list(pool.map(decode_alone, parts[:WORKERS]))  # they start here
        for _ in range(repeats):
            start = time.perf_counter()
            processor = sum(pool.map(decode_alone, parts))
            times["alone"].append((time.perf_counter() - start, processor))
            times["build"].append(spent(lambda: build(table)))
            times["start"].append(
                spent(lambda: list(over_processes(partial(decode, size=SIZE), paths[:WORKERS], WORKERS)))
            )
            times["loop"].append(spent(lambda: usual_loop(paths[::16])))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images and repeats, under a minute")
    images, phantoms, repeats = (1024, 6, 3) if parser.parse_args().quick else (3072, 16, 5)
    root = Path(tempfile.mkdtemp())
    try:
        table = write_files(root, images, phantoms)
        bytes_per_file = round(sum(os.path.getsize(root / name) for name in table.frame["path"]) / images)
        times = measure(table, repeats)
    finally:
        shutil.rmtree(root)
    wall, processor = ({side: median(pair[i] for pair in pairs) for side, pairs in times.items()} for i in (0, 1))
    steady = wall["build"] - wall["start"]
    ratio, loop_ratio = wall["alone"] / steady, 16 * wall["loop"] / steady
    print(
        json.dumps(
            {
                "name": "cache_build",
                "ratio": round(ratio, 3),
                "better": "higher",
                "bar": BAR,
                "limit": 1.0,
                "detail": {
                    "ratio_to_one_process_loop": round(loop_ratio, 2),
                    "bar_to_one_process_loop": LOOP_BAR,
                    "reaches_both_bars": ratio >= BAR and loop_ratio >= LOOP_BAR,
                    "images_per_second_build": round(images / steady, 1),
                    "images_per_second_decoding_alone": round(images / wall["alone"], 1),
                    "images_per_second_one_process_loop": round(images / 16 / wall["loop"], 1),
                    "start_seconds": round(wall["start"], 2),
                    "ratio_with_start": round(wall["alone"] / wall["build"], 3),
                    "ratio_of_processor_time": round(processor["alone"] / (processor["build"] - processor["start"]), 3),
                    "wall_seconds": {side: [round(pair[0], 2) for pair in pairs] for side, pairs in times.items()},
                    "images": images,
                    "bytes_per_file": bytes_per_file,
                    "processes": WORKERS,
                    "size": SIZE,
                    "cpu": cpu_name(),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
