"""An epoch of distillation from DenseNet-161 at 224 px, compared with the usual loop.

Ours: batches from the cache, stored logits and evidence, and the step of `training.train_step`. The usual loop: a
DataLoader with two worker processes that decode, resize and augment 1024 x 1024 PNG files; the teacher computes its
answers to every batch in float32; the student takes a plain step with torch's default AdamW. Both train EEEA-Net-C2, in
turn. `ratio` is the usual loop's time per image divided by ours, without the start of its workers. `detail` holds what
ours costs before training (decoding each image once, computing the answers for each view) and after how many epochs, or
students of 20 epochs, it has saved that much. `limit` is the ratio for the same student trained alone, because
distillation cannot take less time than that.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from _training import (
    ALONE,
    BATCH_SIZE,
    DISTILLED,
    FINDINGS,
    HERE,
    SIZE,
    TEACHER,
    batches,
    files,
    learner,
    machine,
    network,
    seconds,
    step,
)
from PIL import Image
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from cxr_kd.data.table import CxrTable
from cxr_kd.distill.compute_answers import compute_answers
from cxr_kd.distill.losses import focal_bce
from cxr_kd.distill.stored_answers import answers_summary

BAR, VIEWS, EPOCHS = 4.0, 4, 20
WORKERS = 2


class Files(Dataset):
    """The usual data set: decode, resize and augment an image each time it is read."""

    change = v2.Compose(
        [v2.RandomAffine(7, translate=(0.05, 0.05), scale=(0.9, 1.1)), v2.ColorJitter(brightness=0.1, contrast=0.15)]
    )

    def __init__(self, table: CxrTable) -> None:
        self.paths = [table.root / path for path in table.frame["path"]]
        self.labels = torch.from_numpy(table.labels())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        with Image.open(self.paths[position]) as file:
            pixels = np.asarray(file.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        image = torch.from_numpy(pixels.copy()).unsqueeze(0).float() / 255
        return self.change(image).clamp(0, 1), self.labels[position]


def usual_epoch(table: CxrTable, student, teacher, optimizer) -> float:
    """Return one epoch's seconds per image; the clock starts when the first batch is ready."""
    loader = iter(DataLoader(Files(table), BATCH_SIZE, shuffle=True, num_workers=WORKERS))
    done, batch, start = 0, next(loader, None), time.perf_counter()
    while batch is not None:
        images, labels = (part.to(HERE.device) for part in batch)
        with torch.no_grad():
            answers = teacher(images)
        optimizer.zero_grad()
        logits = student(images)
        loss = focal_bce(logits, labels, torch.ones_like(labels, dtype=torch.bool)) + 0.5 * mse_loss(logits, answers)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        done, batch = done + len(images), next(loader, None)
    return (time.perf_counter() - start) / done


def our_epoch(loader, learning, source) -> float:
    """Return one epoch's seconds per image."""
    images = len(loader.image_ids)
    return seconds(lambda: [step(learning, batch, source) for batch in loader.epoch(0)]) / images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds, under a minute")
    images, rounds = (64, 2) if parser.parse_args().quick else (256, 5)
    with tempfile.TemporaryDirectory() as folder:
        table = files(Path(folder, "source"), images)
        decoding = time.perf_counter()
        loader = batches(table, Path(folder, "cache"))
        decoding = (time.perf_counter() - decoding) / images
        teacher, distilled, alone = network(TEACHER).eval(), learner(DISTILLED), learner(ALONE)
        student = network().train()
        optimizer = torch.optim.AdamW(student.parameters())
        needs, device = distilled.objective.needs, HERE.device
        source = compute_answers(teacher, loader, Path(folder), "key", needs=needs, device=device)
        stored = answers_summary(Path(folder))
        our_epoch(loader, distilled, source)  # the first steps allocate
        usual, ours, least = [], [], []
        for _ in range(rounds):
            usual.append(usual_epoch(table, student, teacher, optimizer))
            ours.append(our_epoch(loader, distilled, source))
            least.append(our_epoch(loader, alone, None))
    theirs, own, answering = median(usual), median(ours), stored["seconds"] / images
    before = {views: decoding + views * answering for views in (1, VIEWS)}
    detail = {
        "ms_per_image_usual": round(1e3 * theirs, 1),
        "ms_per_image_ours": round(1e3 * own, 1),
        "ms_per_image_student_alone": round(1e3 * median(least), 1),
        "ms_per_image_decoded_once": round(1e3 * decoding, 1),
        "ms_per_image_and_view_answering": round(1e3 * answering, 1),
        "stored_bytes_per_image_and_view": round(stored["mb"] * 2**20 / images),
        **{
            f"saved_after_epochs_with_{views}_view{'s' * (views > 1)}": math.ceil(spent / (theirs - own))
            for views, spent in before.items()
        },
        f"saved_after_students_of_{EPOCHS}_epochs": round(before[VIEWS] / (theirs - own) / EPOCHS, 2),
        f"ratio_of_a_student_of_{EPOCHS}_epochs_with_all_costs": round(
            EPOCHS * theirs / (before[VIEWS] + EPOCHS * own), 2
        ),
        "teacher": TEACHER,
        "findings": len(FINDINGS),
        "images": images,
        "rounds": rounds,
        "workers": WORKERS,
        **machine(),
    }
    result = {"name": "distill_epoch", "ratio": round(theirs / own, 2), "better": "higher", "bar": BAR}
    print(json.dumps({**result, "limit": round(theirs / median(least), 2), "detail": detail}))


if __name__ == "__main__":
    main()
