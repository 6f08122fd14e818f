"""A small teacher and the images that it answers, for tests of stored answers."""

from pathlib import Path

import torch
from squares import FINDINGS, squares

from cxr_kd.data.cache import build_cache
from cxr_kd.data.loader import Batches
from cxr_kd.models.build import build
from cxr_kd.study.settings import Augmentation

AUGMENTATION = Augmentation(rotate_degrees=5, translate=0.05, scale=0.05, brightness=0.05, contrast=0.1)
NEEDS = frozenset({"evidence", "attention"})
VIEWS = 3


def network(seed=0):
    torch.manual_seed(seed)
    return build("eeea_net_c2", FINDINGS, image_size=64).eval()


def batches_in(folder: Path, batch_size=16, views=VIEWS) -> Batches:
    table = squares(folder, side=64)
    cache = build_cache(table, folder / "cache", 64, progress=False)
    settings = {"batch_size": batch_size, "seed": 1, "augment": AUGMENTATION, "shuffle": True, "views": views}
    return Batches(cache, table, list(table.frame["image_id"]), **settings)


def count_forward_passes(model) -> list[int]:
    """Return a list that gets the size of every batch that the network sees from now on."""
    sizes: list[int] = []
    model.backbone.register_forward_hook(lambda _, images, __: sizes.append(len(images[0])))
    return sizes
