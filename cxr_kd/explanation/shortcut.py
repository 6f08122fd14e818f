"""Does a network read the chest drain instead of the pneumothorax? Measured on two versions of the same radiograph.

A chest drain treats a pneumothorax. A network can therefore find treated pneumothoraces by the drain, and miss those
that nobody has treated yet: Oakden-Rayner et al., "Hidden stratification causes clinically meaningful failures in
machine learning for medical imaging", CHIL 2020, and Jiménez-Sánchez et al., "Detecting shortcuts in medical images",
ISBI 2023 (arXiv 2211.04279), both with drains marked in ChestX-ray14. Real radiographs exist in one version only, so
these papers compare different patients. Phantoms can be drawn with and without their drain: then the drain's effect
on the logit is known for each patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxr_kd.data.images.resize import resized
from cxr_kd.data.prepare import Prepared
from cxr_kd.explanation.localisation import Reading, enlarged, read
from cxr_kd.explanation.measures import DRAIN_KINDS, PAINTED_IN_WELL
from cxr_kd.explanation.methods.cam import Explainer, of_pairs
from cxr_kd.explanation.places import at_size

FINDING, TRUTH, DRAIN = "Pneumothorax", "truth:Pneumothorax", "drain"
MEASURES = ("drain_share", "pneumothorax_share", "drain_effect", "drain_effect_sd")
REFERENCES = ("drain_area", "pneumothorax_area", "ideal_drain_share")  # what the shares are read against
COLUMNS = ("image_id", "patient_id", "kind", *MEASURES, *REFERENCES, "logit_with", "logit_without")
NOTICED = 8  # of 255 grey levels; the edges of a drain that differ by less cannot be seen in the film's noise
MARGIN = 0.02  # of the image's side, on each side of the drain: about the width of a drain
IMAGES = 16  # per batch, two versions of each


def shortcut(
    explain: Explainer, data: Prepared, *, limit: int, reading: Reading = "positive", seed: int = 0
) -> pd.DataFrame | None:
    """Return how much a network reads the drain as pneumothorax: one row per image of the test side.

    Each image is shown with and without a chest drain. `kind` says what its own version is: `PAINTED_OUT` (drawn
    pneumothorax and drain; the drain is painted out), `PAINTED_IN_ILL` and `PAINTED_IN_WELL` (no drain, with and
    without a drawn pneumothorax; a drain is painted in). What was drawn counts, not what was reported. Images with a
    drain and without a pneumothorax (1 of 100 as many) are left out. Of each kind, all images are used, or `limit` of
    them that are drawn with `seed`: the number of rows of a kind says how many.

    The columns, beside `image_id`, `patient_id` and `kind`:
        drain_share: share of the evidence for pneumothorax that is on the drain (with a margin, `drain_pixels`) in the
            version with the drain, 0 to 1; lower is better. By chance it is `drain_area`, the drain's share of the
            image. NaN for an empty map. Energy-based pointing game: Wang et al., "Score-CAM", CVPR Workshops 2020.
        pneumothorax_share, pneumothorax_area: the same for the pneumothorax's pixels outside the drain; higher is
            better. NaN if there is no pneumothorax.
        ideal_drain_share: share of the pneumothorax's pixels that are on the drain: the drain_share of a map that is
            even on the pneumothorax and 0 elsewhere, because most drains end in the pneumothorax. A drain_share above
            both this and `drain_area` is a sign that the network looks at the drain. NaN if there is no pneumothorax.
        drain_effect: logit with the drain minus logit without it, in logits, any sign. 0 is best: the network ignores
            the drain; above 0 it takes the drain for a sign of pneumothorax. In PAINTED_OUT it is what the logit loses
            when the drain is painted out, in the other kinds what it gains when the drain is painted in.
        drain_effect_sd: drain_effect in standard deviations (n - 1) of `logit_without` over the images of
            PAINTED_IN_WELL, which show neither drain nor pneumothorax. Networks differ in the scale of their logits, so
            compare teacher and student by this. NaN if there are fewer than two such images, or their logits are equal.
        logit_with, logit_without: the two logits.

    `reading` says what counts as evidence (`localisation.read`). The frame has no rows if no image is of these kinds.

    Returns:
        None if the data set cannot show both versions, or pneumothorax is not among the findings.
    """
    table = data.table
    if table.drain_versions is None or table.masks is None or FINDING not in table.findings:
        return None
    chosen = _chosen(data, limit, seed)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(chosen), IMAGES):
        rows += _rows(explain, data, chosen.iloc[start : start + IMAGES], reading)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    spread = frame.loc[frame["kind"] == PAINTED_IN_WELL, "logit_without"].astype(float).std()
    return frame.assign(drain_effect_sd=frame["drain_effect"] / (spread if spread > 0 else np.nan))


def drain_pixels(with_drain: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Return the pixels of the drain, bool (B, S, S), from the two versions of B images, uint8 (B, S, S) each.

    A pixel is on the drain if the versions differ there by at least NOTICED grey levels, or if such a pixel is at most
    a margin away: MARGIN of the image's side, at least one pixel, along rows and columns. The margin is there because a
    map's cells are wider than a drain.
    """
    differs = np.abs(with_drain.astype(np.int16) - without) >= NOTICED
    margin = max(1, round(MARGIN * differs.shape[-1]))
    near = torch.nn.functional.max_pool2d(torch.from_numpy(differs).float(), 2 * margin + 1, stride=1, padding=margin)
    return near.numpy() > 0


def _chosen(data: Prepared, limit: int, seed: int) -> pd.DataFrame:
    """The images that are shown (`image_id`, `patient_id`, `kind`), ordered by kind, then as on the test side."""
    frame = data.table.select(data.split.test).frame
    drain, ill = frame[DRAIN] == 1, frame[TRUTH] == 1
    rng = np.random.default_rng(seed)
    parts = []
    for kind, of_kind in zip(DRAIN_KINDS, (ill & drain, ill & ~drain, ~ill & ~drain), strict=True):
        images = frame.loc[of_kind, ["image_id", "patient_id"]]
        parts.append(images.iloc[np.sort(rng.permutation(len(images))[:limit])].assign(kind=kind))
    return pd.concat(parts, ignore_index=True)


def _rows(explain: Explainer, data: Prepared, chosen: pd.DataFrame, reading: Reading) -> Iterator[dict[str, Any]]:
    """Yield the row of each image of a batch."""
    versions = np.stack([_versions(data, image_id) for image_id in chosen["image_id"]], axis=1)  # (2, B, S, S)
    logits, maps = _of_finding(explain, data, versions)
    evidence = enlarged(read(maps, reading), versions.shape[-1])
    drains = drain_pixels(versions[0], versions[1])
    for i, (image_id, patient_id, kind) in enumerate(chosen.itertuples(index=False)):
        yield {
            "image_id": image_id,
            "patient_id": patient_id,
            "kind": kind,
            **_shares(evidence[i], drains[i], None if kind == PAINTED_IN_WELL else _pneumothorax(data, image_id)),
            "drain_effect": float(logits[0, i] - logits[1, i]),
            "logit_with": float(logits[0, i]),
            "logit_without": float(logits[1, i]),
        }


def _versions(data: Prepared, image_id: str) -> np.ndarray:
    """An image with and without a drain, as the cache stores images: uint8 (2, S, S)."""
    assert data.table.drain_versions is not None
    size, keep_aspect = data.cache.manifest["size"], data.cache.manifest["keep_aspect"]
    return np.stack([resized(image, size, keep_aspect=keep_aspect) for image in data.table.drain_versions(image_id)])


def _of_finding(explain: Explainer, data: Prepared, versions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits of pneumothorax, (2, B), of both versions, and signed maps, (B, h, w), of the version with the drain."""
    column = data.table.findings.index(FINDING)
    found = []
    for images in versions:
        with torch.inference_mode():
            rows, columns = np.arange(len(images)), np.full(len(images), column)
            logits, evidence = of_pairs(explain, torch.from_numpy(images).unsqueeze(1), rows, columns)
        found.append((logits.float().numpy(), evidence.float().numpy()))
    return np.stack([logits for logits, _ in found]), found[0][1]


def _pneumothorax(data: Prepared, image_id: str) -> np.ndarray:
    """The pixels of the pneumothorax at the study's size, bool (S, S)."""
    assert data.table.masks is not None
    return at_size(data.table.masks(image_id)[FINDING], data.cache.manifest["size"])


def _shares(evidence: np.ndarray, drain: np.ndarray, pneumothorax: np.ndarray | None) -> dict[str, float]:
    """The shares and areas of one image, all (S, S); without a pneumothorax, only the drain's."""
    shares = {"drain_share": _share(evidence, drain), "drain_area": float(drain.mean())}
    if pneumothorax is None:
        return shares
    outside = pneumothorax & ~drain
    return {
        **shares,
        "pneumothorax_share": _share(evidence, outside),
        "pneumothorax_area": float(outside.mean()),
        "ideal_drain_share": _share(pneumothorax.astype(np.float32), drain),
    }


def _share(evidence: np.ndarray, place: np.ndarray) -> float:
    """Share of the evidence (S, S) that is in a place; NaN if there is no evidence."""
    total = float(evidence.sum())
    return float(evidence[place].sum()) / total if total > 0 else float("nan")
