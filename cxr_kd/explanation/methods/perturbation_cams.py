"""Class activation maps whose channel weights come from changing the network's input or features, without gradients.

Both methods weigh the channels of the last feature map A (B, K, h, w) for all findings of a batch at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from cxr_kd.explanation.methods.cam import Explainer, upsample
from cxr_kd.models.classifier import CxrClassifier

Upsample = Callable[[torch.Tensor, int], torch.Tensor]  # maps (B, K, h, w), S -> (B, K, S, S)


@dataclass(frozen=True)
class Work:
    """How much is computed at once: masked images or ablated channels per forward pass, and a progress bar or none."""

    batch_size: int = 32
    progress: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def steps(self, items: Iterable[int], total: int, title: str) -> Iterable[int]:
        """Return the items, behind a progress bar if one is wanted."""
        if not self.progress:
            return items
        from tqdm.auto import tqdm

        return tqdm(items, total=total, desc=title)


def score_cam(model: CxrClassifier, work: Work, enlarge: Upsample = upsample) -> Explainer:
    """Return Score-CAM: sum_k w_k A_k, where w is the softmax over channels of the logit of a masked image.

    Channel k's mask is A_k, enlarged to the image's size and stretched to [0, 1]; what it hides is black. Only
    positive weights: at least 0 in every cell if the features are; units of the features. One image takes K forward
    passes for all findings together, `work.batch_size` at a time. No gradient flows.

    pytorch-grad-cam enlarges with align_corners=True, which moves the mask by up to half a cell at the border; here a
    cell's value is at the cell's centre. Source: Wang et al., CVPR Workshops 2020, arXiv 1910.01279, section 3.
    """

    @torch.no_grad()
    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = model.features(images)
        logits = model.head(model.pool(features))
        gray = images / 255.0 if images.dtype == torch.uint8 else images
        rows = work.steps(range(len(images)), len(images), "Score-CAM")
        scores = torch.stack([_masked_logits(model, gray[row], features[row], work, enlarge) for row in rows])
        return logits, torch.einsum("bkl,bkhw->blhw", scores.softmax(dim=1), features)

    return explain


def ablation_cam(model: CxrClassifier, work: Work) -> Explainer:
    """Return Ablation-CAM, signed: sum_k (y - y_k) A_k, where y_k is the logit with channel k set to zero.

    Only the head runs again, because it sees no more than each channel's mean. Units: logits times features. No
    gradient flows. The paper and pytorch-grad-cam divide by y, which only scales a map, but turns its sign where the
    logit is negative (a channel that speaks for the finding then counts against it); this is left out. Where features
    can be negative, pytorch-grad-cam sets a channel to its least value minus 1e7, not to zero as in the paper.
    Source: Desai and Ramaswamy, WACV 2020, section 3.
    """

    @torch.no_grad()
    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = model.features(images)
        pooled = model.pool(features)
        logits = model.head(pooled)
        rows = work.steps(range(len(images)), len(images), "Ablation-CAM")
        without = torch.stack([_ablated_logits(model, pooled[row], work.batch_size) for row in rows])
        return logits, torch.einsum("bkl,bkhw->blhw", logits.unsqueeze(1) - without, features)

    return explain


def _masked_logits(
    model: CxrClassifier, image: torch.Tensor, features: torch.Tensor, work: Work, enlarge: Upsample
) -> torch.Tensor:
    """Return the logits (K, L) of one image (1, S, S), masked by each channel of its features (K, h, w)."""
    logits = []
    for some in features.split(work.batch_size):
        large = enlarge(some.unsqueeze(0), model.image_size)[0]  # (k, S, S)
        low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
        masks = (large - low) / (high - low + 1e-8)  # a constant channel hides everything
        logits.append(model(image * masks.clamp(0, 1).unsqueeze(1)))
    return torch.cat(logits)


def _ablated_logits(model: CxrClassifier, pooled: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Return the logits (K, L) for pooled features (K,), with each of them set to zero in turn."""
    logits = []
    for channels in torch.arange(len(pooled), device=pooled.device).split(batch_size):
        ablated = pooled.repeat(len(channels), 1)
        ablated[torch.arange(len(channels), device=pooled.device), channels] = 0
        logits.append(model.head(ablated))
    return torch.cat(logits)
