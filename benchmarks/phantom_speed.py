"""Number of 128 px phantoms that one core draws per second, compared with the 60 that the default study needs.

`ratio` is the median speed over 60 images/s. Processor time is counted, so that neither a busy machine nor a second
thread changes the result; `detail` holds the wall time too. The limit is the time for the Gaussian noise of each image
alone.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from cxr_kd.data.readers.phantom import PhantomSettings, draw

BAR_IMAGES_PER_SECOND = 60.0


def speeds(work: Callable[[int], object], indices: range) -> tuple[float, float]:
    """Return images per second of processor time and of wall time."""
    wall, processor = time.perf_counter(), time.process_time()
    for index in indices:
        work(index)
    return len(indices) / (time.process_time() - processor), len(indices) / (time.perf_counter() - wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, under a minute")
    repeats, images = (5, 120) if parser.parse_args().quick else (9, 400)
    settings = PhantomSettings(images=repeats * images, size=128, minimum_rate=0.08)
    start = time.perf_counter()
    draw(settings, 0)
    first = time.perf_counter() - start
    rng = np.random.default_rng(0)
    drawn, noise = [], []
    for repeat in range(repeats):
        part = range(repeat * images, (repeat + 1) * images)
        drawn.append(speeds(lambda index: draw(settings, index), part))
        noise.append(speeds(lambda _: rng.standard_normal((128, 128), dtype=np.float32), part))
    speed, limit = median(cpu for cpu, _ in drawn), median(cpu for cpu, _ in noise)
    print(
        json.dumps(
            {
                "name": "phantom_speed",
                "ratio": round(speed / BAR_IMAGES_PER_SECOND, 2),
                "better": "higher",
                "bar": 1.0,
                "limit": round(limit / BAR_IMAGES_PER_SECOND, 1),
                "detail": {
                    "images_per_second_per_core": round(speed, 1),
                    "bar_images_per_second": BAR_IMAGES_PER_SECOND,
                    "images_per_second_wall": round(median(wall for _, wall in drawn), 1),
                    "slowest_and_fastest": [round(pick(cpu for cpu, _ in drawn), 1) for pick in (min, max)],
                    "first_image_seconds": round(first, 2),
                    "repeats": repeats,
                    "images": images,
                    "size": 128,
                },
            }
        )
    )


if __name__ == "__main__":
    main()
