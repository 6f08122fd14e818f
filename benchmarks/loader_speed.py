"""Speed of reading augmented 224 px training batches from the cache, compared with training EEEA-Net-C2 on them.

Both sides run on this processor with the same threads, in turn: `Batches` with the default augmentation, which reads
every image of the cache once, and training steps (forward, loss, backward, AdamW). `ratio` is images/s read over
images/s trained. The limit is the same loader without augmentation, which reads pixels and converts them to numbers.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from PIL import Image

from cxr_kd.data.cache import build_cache
from cxr_kd.data.loader import Batch, Batches
from cxr_kd.data.table import CxrTable
from cxr_kd.device.latency import cpu_name
from cxr_kd.distill.losses import bce
from cxr_kd.models.build import build
from cxr_kd.study.settings import Augmentation

BAR = 20
SIZE, BATCH_SIZE, IMAGES, FINDINGS = 224, 32, 640, tuple(f"finding {i}" for i in range(14))


def write_table(root: Path) -> CxrTable:
    generator = np.random.default_rng(0)
    names = [f"{number:05d}.png" for number in range(IMAGES)]
    for name in names:
        Image.fromarray(generator.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)).save(root / name, compress_level=0)
    frame = pd.DataFrame(
        {"image_id": names, "path": names, "patient_id": names, "view": "PA", "age": np.nan, "sex": ""}
    )
    labels = {finding: generator.integers(0, 2, IMAGES).astype(float) for finding in FINDINGS}
    return CxrTable("noise", "own", root, frame.assign(**labels), FINDINGS)


def speed_served(batches: Batches, epoch: int) -> float:
    start = time.perf_counter()
    images = sum(len(batch.images) for batch in batches.epoch(epoch))
    return images / (time.perf_counter() - start)


def speed_trained(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]) -> float:
    images, start = 0, time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        bce(model(batch.images), batch.labels, batch.known).backward()
        optimizer.step()
        images += len(batch.images)
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, under a minute")
    repeats = 3 if parser.parse_args().quick else 15
    torch.manual_seed(0)
    model = build("eeea_net_c2", FINDINGS, image_size=SIZE).train()
    optimizer = torch.optim.AdamW(model.parameters())
    served, plain, trained = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        (root := Path(folder, "source")).mkdir()
        table = write_table(root)
        cache = build_cache(table, Path(folder, "cache"), SIZE, progress=False)
        ids = table.frame["image_id"].tolist()
        loader = Batches(cache, table, ids, batch_size=BATCH_SIZE, augment=Augmentation(), shuffle=True)
        reading = Batches(cache, table, ids, batch_size=BATCH_SIZE, shuffle=True)
        two_batches = list(islice(loader.epoch(0), 2))
        speed_trained(model, optimizer, two_batches)  # the first steps allocate
        for repeat in range(repeats):
            served.append(speed_served(loader, repeat))
            plain.append(speed_served(reading, repeat))
            trained.append(speed_trained(model, optimizer, two_batches))
    speed, limit, training = median(served), median(plain), median(trained)
    print(
        json.dumps(
            {
                "name": "loader_speed",
                "ratio": round(speed / training, 1),
                "better": "higher",
                "bar": BAR,
                "limit": round(limit / training, 1),
                "detail": {
                    "images_per_second_served": round(speed, 1),
                    "images_per_second_without_augmentation": round(limit, 1),
                    "images_per_second_trained": round(training, 2),
                    "slowest_and_fastest_served": [round(min(served), 1), round(max(served), 1)],
                    "network": "eeea_net_c2",
                    "size": SIZE,
                    "batch_size": BATCH_SIZE,
                    "images": IMAGES,
                    "repeats": repeats,
                    "threads": torch.get_num_threads(),
                    "cpu": cpu_name(),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
