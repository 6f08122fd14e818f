"""Memory while a cache is built and while batches are read from it, with 1,000 and with 20,000 images of 224 px.

Each measurement runs in a process of its own: building over two processes (the sum of the peaks of all of them), and
reading augmented, shuffled batches. Over fewer images it reads more epochs, so that the number of batches is equal. The
measure is the kernel's peak of resident memory (VmHWM), in which pages of a mapped file count too. `ratio` is the
memory with the larger number of images over the memory with the smaller, for the side that grows more; `bar` is that
ratio if 50 MiB were added. The limit, 1, is memory that does not grow.

The source is one small PNG under many names (hard links). `--quick` compares 1,000 with 4,000 images.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxr_kd.data import parallel
from cxr_kd.data.cache import build_cache, open_cache
from cxr_kd.data.table import CxrTable

MOST_GROWTH_MIB = 50
SIZE, BATCH_SIZE, WORKERS, FEW = 224, 32, 2, 1000


def table_of(root: Path, images: int) -> CxrTable:
    names = [f"{number:06d}.png" for number in range(images)]
    frame = pd.DataFrame({"image_id": names, "path": names, "patient_id": names, "view": "PA", "age": np.nan})
    return CxrTable("noise", "own", root, frame.assign(sex="", Mass=0.0), ("Mass",))


def write_files(root: Path, images: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "000000.png", compress_level=0)
    for number in range(1, images):
        os.link(root / "000000.png", root / f"{number:06d}.png")


def peak_mib(process: int) -> float:
    """Return the peak of resident memory of a process in MiB, 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def watch_children(peaks: dict[int, float]) -> None:
    """Keep the peak of each child process in `peaks`."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    while True:
        for child in map(int, children.read_text().split()):
            peaks[child] = peak_mib(child) or peaks.get(
                child, 0.0
            )  # the latest value: at first a child shows its parent's
        time.sleep(0.05)


def measure_build(root: Path, folder: Path, images: int, _: int) -> None:
    parallel.PROCESS_START_SECONDS = 0.0  # start processes for few images too
    children: dict[int, float] = {}
    threading.Thread(target=watch_children, args=(children,), daemon=True).start()
    build_cache(table_of(root, images), folder, SIZE, workers=WORKERS, progress=False)
    print(peak_mib(os.getpid()) + sum(children.values()), len(children))


def measure_serve(root: Path, folder: Path, images: int, epochs: int) -> None:
    from cxr_kd.data.loader import Batches  # loads torch, which building does not need
    from cxr_kd.study.settings import Augmentation

    table = table_of(root, images)
    ids = table.frame["image_id"].tolist()
    batches = Batches(open_cache(folder), table, ids, batch_size=BATCH_SIZE, augment=Augmentation(), shuffle=True)
    served = sum(len(batch.images) for epoch in range(epochs) for batch in batches.epoch(epoch))
    print(peak_mib(os.getpid()), served)


def measured(what: str, root: Path, folder: Path, images: int, epochs: int) -> tuple[float, int]:
    """Run one of the two sides in a process of its own; return MiB and the number that it counted."""
    command = [sys.executable, __file__, what, str(root), str(folder), str(images), str(epochs)]
    mib, count = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(mib), int(count)


def compare(many: int) -> dict[str, dict[int, tuple[float, int]]]:
    answer: dict[str, dict[int, tuple[float, int]]] = {"build": {}, "serve": {}}
    with tempfile.TemporaryDirectory() as scratch:
        (root := Path(scratch, "source")).mkdir()
        write_files(root, many)
        for images in (FEW, many):
            for what, side in answer.items():
                side[images] = measured(what, root, Path(scratch, f"cache-{images}"), images, many // images)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images, under a minute")
    many = 4000 if parser.parse_args().quick else 20_000
    sides = compare(many)
    grown = {what: side[many][0] - side[FEW][0] for what, side in sides.items()}
    worse = max(grown, key=lambda what: grown[what])
    few = sides[worse][FEW][0]
    print(
        json.dumps(
            {
                "name": "data_memory",
                "ratio": round(sides[worse][many][0] / few, 3),
                "better": "lower",
                "bar": round(1 + MOST_GROWTH_MIB / few, 3),
                "limit": 1.0,
                "detail": {
                    "grows_more": worse,
                    "grown_mib": {what: round(mib, 1) for what, mib in grown.items()},
                    "most_growth_mib": MOST_GROWTH_MIB,
                    "peak_mib": {
                        what: {str(images): round(mib, 1) for images, (mib, _) in side.items()}
                        for what, side in sides.items()
                    },
                    "measure": "peak of resident memory (VmHWM), summed over the processes",
                    "processes_started": {str(images): count for images, (_, count) in sides["build"].items()},
                    "images": [FEW, many],
                    "size": SIZE,
                    "batch_size": BATCH_SIZE,
                },
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] in (["build"], ["serve"]):
        measure = measure_build if sys.argv[1] == "build" else measure_serve
        measure(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
