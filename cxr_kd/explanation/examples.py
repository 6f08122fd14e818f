"""Test images to show in the report, chosen without looking at any network, and every network's map of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_kd.data.prepare import Prepared
from cxr_kd.explanation.places import place_of

if TYPE_CHECKING:
    from cxr_kd.explanation.localisation import Reading
    from cxr_kd.models.classifier import CxrClassifier

LOOKED_UP = 50  # images per finding that are searched for a mask or box: masks of phantoms are drawn when asked for


@dataclass(frozen=True, eq=False)
class Example:
    """One image and one finding of it, with what each network says about that finding.

    image: (S, S) uint8. label: 1, 0 or NaN. maps: network -> map (h, w), at least 0, in logits. logits: network ->
    logit. place: the finding's pixels, bool (S, S), or None if it is not marked.
    """

    image: np.ndarray
    image_id: str
    finding: str
    label: float
    maps: Mapping[str, np.ndarray]
    logits: Mapping[str, float]
    place: np.ndarray | None = None


def choose_examples(data: Prepared, count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Return at most `count` pairs (image id, finding) of positive test images, of as many findings as possible.

    Images and findings are shuffled with `seed`. Findings with a marked image come first; within a finding, marked
    images come first. No network takes part, so that nobody picks a map that looks good. No image is chosen twice.
    """
    random = np.random.default_rng(seed)
    frame = data.table.select(data.split.test).frame
    images: dict[str, list[str]] = {}  # finding -> its positive images in the order in which they are taken
    with_mark = set()
    for finding in map(str, random.permutation(list(data.table.findings))):
        positive = [str(each) for each in random.permutation(frame.loc[frame[finding] == 1, "image_id"].to_numpy(str))]
        marked = [each for each in positive[:LOOKED_UP] if place_of(data, each, finding) is not None]
        images[finding] = marked + [each for each in positive if each not in marked]
        with_mark |= {finding} if marked else set()
    order = sorted(images, key=lambda finding: finding not in with_mark)
    chosen: dict[str, str] = {}  # image id -> finding
    for turn in range(max(map(len, images.values()))):
        for finding in order:
            left = [image_id for image_id in images[finding] if image_id not in chosen]
            if turn < len(images[finding]) and left and len(chosen) < count:
                chosen |= {left[0]: finding}
    return list(chosen.items())


def explain_examples(
    networks: Mapping[str, CxrClassifier],
    data: Prepared,
    chosen: Sequence[tuple[str, str]],
    *,
    form: str = "plain",
    reading: Reading = "positive",
) -> list[Example]:
    """Return each chosen pair (image id, finding) with every network's map and logit.

    `form` names the way in which maps are made (`grids.explainer`), `reading` what of them is evidence
    (`localisation.read`).
    """
    from cxr_kd.explanation.localisation import read  # loads torch

    image_ids = [image_id for image_id, _ in chosen]
    images = data.cache.pixels(data.cache.rows(image_ids))  # (B, S, S)
    outputs = {name: _evidence(network, images, form) for name, network in networks.items()}
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
                maps={name: read(found[row, [column]], reading)[0] for name, (_, found) in outputs.items()},
                logits={name: float(logits[row, column]) for name, (logits, _) in outputs.items()},
                place=place_of(data, image_id, finding),
            )
        )
    return examples


def _evidence(network: CxrClassifier, images: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, L) and signed evidence (B, L, h, w)."""
    import torch

    from cxr_kd.explanation.methods.grids import explainer

    with torch.inference_mode():
        logits, found = explainer(network.eval(), form)(torch.from_numpy(images).unsqueeze(1))
    return logits.numpy(), found.numpy()
