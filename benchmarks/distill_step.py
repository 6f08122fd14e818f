"""A distillation step from stored teacher answers, against the same student's step alone, at 224 px.

Both sides run `training.train_step.TrainStep` on the same batches, in turn. One side distils with focal
cross-entropy, squared error of logits and cosine of maps, and reads the answers of DenseNet-161 from files; the other
learns from the labels only. `ratio` is the median time of the distillation step divided by that of the
student's step alone. It cannot be below 1, because the distillation step does everything that the other does.
"""

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path
from statistics import median

from _training import ALONE, BATCH_SIZE, DISTILLED, TEACHER, batches, files, learner, machine, network, seconds, step

from cxr_kd.distill.compute_answers import compute_answers
from cxr_kd.distill.stored_answers import answers_summary

BAR, IMAGES = 1.05, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under a minute")
    rounds = 15 if parser.parse_args().quick else 100
    with tempfile.TemporaryDirectory() as folder:
        loader = batches(files(Path(folder, "source"), IMAGES), Path(folder, "cache"))
        alone, distilled = learner(ALONE), learner(DISTILLED)
        needs, device = distilled.objective.needs, "cpu"
        source = compute_answers(network(TEACHER), loader, Path(folder), "key", needs=needs, device=device)
        stored_mb = answers_summary(Path(folder))["mb"]
        some = list(islice(loader.epoch(0), 4))
        times: dict[str, list[float]] = {"alone": [], "distilled": []}
        for number in range(-2, rounds):  # the first two rounds allocate memory
            batch = some[number % len(some)]
            spent = {
                "alone": seconds(lambda batch=batch: step(alone, batch)),
                "distilled": seconds(lambda batch=batch: step(distilled, batch, source)),
            }
            for side in times if number >= 0 else ():
                times[side].append(spent[side])
    one, other = median(times["distilled"]), median(times["alone"])
    detail = {
        "step_ms_distilled": round(1e3 * one, 1),
        "step_ms_alone": round(1e3 * other, 1),
        "images_per_second_distilled": round(BATCH_SIZE / one, 1),
        "images_per_second_alone": round(BATCH_SIZE / other, 1),
        "stored_bytes_per_image_and_view": round(stored_mb * 2**20 / IMAGES),
        "objective": DISTILLED,
        "teacher": TEACHER,
        "rounds": rounds,
        **machine(),
    }
    result = {"name": "distill_step", "ratio": round(one / other, 3), "better": "lower", "bar": BAR, "limit": 1.0}
    print(json.dumps({**result, "detail": detail}))


if __name__ == "__main__":
    main()
