"""Test images to look at, drawn by a rule that no result can influence, and every network's map of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxr_kd.data.prepare import Prepared

if TYPE_CHECKING:
    from cxr_kd.models.classifier import CxrClassifier

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Example:
    """One image and one finding of it.

    image: (S, S) uint8; truth: a mask, bool (h, w), or a box (x, y, width, height as fractions of the image), or None
    where nobody marked it; maps: network -> (h, w), at least 0, in logits; logits: network -> logit.
    """

    image: np.ndarray
    image_id: str
    finding: str
    label: float
    maps: Mapping[str, np.ndarray]
    logits: Mapping[str, float]
    truth: np.ndarray | Box | None = field(default=None)


def choose(data: Prepared, count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Draw `count` pairs (image id, finding) from the test side: positives only, as many findings as there are.

    Findings come in the order of a seeded shuffle, those with a marked image first; within a finding, marked images
    come before others. No network is asked, so that no good-looking map is picked.
    """
    random = np.random.default_rng(seed)
    frame = data.table.select(data.split.test).frame
    queues = {}
    for finding in random.permutation(list(data.table.findings)):
        image_ids = list(random.permutation(frame.loc[frame[finding] == 1, "image_id"].to_numpy(str)))
        marked = [image_id for image_id in image_ids[:50] if truth(data, image_id, finding) is not None]
        queues[str(finding)] = marked + [image_id for image_id in image_ids if image_id not in marked], bool(marked)
    order = sorted(queues, key=lambda finding: not queues[finding][1])
    rounds = max(len(queue) for queue, _ in queues.values())
    chosen: list[tuple[str, str]] = []
    for turn in range(rounds):
        for finding in order:
            queue = [image_id for image_id in queues[finding][0] if image_id not in dict(chosen)]
            if turn < len(queues[finding][0]) and queue and len(chosen) < count:
                chosen.append((str(queue[0]), finding))
    return chosen


def truth(data: Prepared, image_id: str, finding: str) -> np.ndarray | Box | None:
    """Where a finding is on an image: its mask, else its box, else None."""
    if data.table.masks is not None:
        mask = data.table.masks(image_id).get(finding)
        return mask if mask is not None and mask.any() else None
    boxes = data.table.boxes
    found = boxes[(boxes["image_id"] == image_id) & (boxes["finding"] == finding)]
    if found.empty:
        return None
    x, y, width, height = (float(found.iloc[0][name]) for name in ("x", "y", "width", "height"))
    return x, y, width, height


def explain(
    networks: Mapping[str, "CxrClassifier"], data: Prepared, chosen: Sequence[tuple[str, str]]
) -> list[Example]:
    """Every network's map and logit of each chosen finding, in one pass a network."""
    image_ids = [image_id for image_id, _ in chosen]
    images = data.cache.pixels(data.cache.rows(image_ids))  # (B, S, S)
    answers = {name: _one_pass(network, images) for name, network in networks.items()}
    frame = data.table.select(image_ids).frame
    examples = []
    for row, (image_id, finding) in enumerate(chosen):
        column = data.table.findings.index(finding)
        examples.append(
            Example(
                image=images[row],
                image_id=image_id,
                finding=finding,
                label=float(frame[finding].iloc[row]),
                maps={name: shown[row, column] for name, (_, shown) in answers.items()},
                logits={name: float(logits[row, column]) for name, (logits, _) in answers.items()},
                truth=truth(data, image_id, finding),
            )
        )
    return examples


def _one_pass(network: "CxrClassifier", images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, L) and maps (B, L, h, w)."""
    import torch

    from cxr_kd.explanation.cam import maps

    with torch.inference_mode():
        logits, shown = maps(network.eval(), torch.from_numpy(images).unsqueeze(1))
    return logits.numpy(), shown.numpy()
