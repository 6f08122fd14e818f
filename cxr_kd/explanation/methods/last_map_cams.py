"""Class activation maps at the last feature map, for all findings of a batch at once, in one forward pass.

Below, A (B, K, h, w) is the last feature map, p (B, K) its mean over the n = h * w cells, y (B, L) the logits and
J (B, L, K) = dy / dp the Jacobian of the head, which has a closed form. The head sees only p, so the gradient
dy / dA_k is J_k / n in every cell, and no backward pass is needed. Every map here is n times the one of its paper, so
that it is in logits and does not become smaller on a finer grid.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import Explainer, one_pass
from cxr_kd.models.classifier import CxrClassifier

# Jacobian (B, L, K) and pooled features (B, K) -> weight of each channel for each finding, (B, L, K).
Weights = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def grad_cam(model: CxrClassifier) -> Explainer:
    """Return Grad-CAM before its relu, signed, in logits: sum_k J_k A_k.

    Source: Selvaraju et al., ICCV 2017, equations 1 and 2.
    """
    return one_pass(model)


def hires_cam(model: CxrClassifier) -> Explainer:
    """Return HiResCAM, signed, in logits: sum_k dy/dA_k * A_k, cell by cell.

    At the last map the gradient is the same in every cell, so HiResCAM equals Grad-CAM (as its authors prove for
    networks that end in a global mean). Source: Draelos and Carin, arXiv 2011.08891, section 3.
    """
    return one_pass(model)


def xgrad_cam(model: CxrClassifier) -> Explainer:
    """Return XGrad-CAM, signed, in logits: the gradient of a channel, averaged with its own activations as weights.

    At the last map the gradient is the same in every cell, so its weighted mean is itself, and XGrad-CAM equals
    Grad-CAM. Source: Fu et al., BMVC 2020, arXiv 2008.02312, section 3.
    """
    return one_pass(model)


def layer_cam(model: CxrClassifier) -> Explainer:
    """Return LayerCAM at the last map, in logits: sum_k relu(J_k) A_k.

    Only positive weights: at least 0 in every cell if the features are. Source: Jiang et al., IEEE Transactions on
    Image Processing 30, 2021, section III. See `inner_layers` for finer layers.
    """
    return _weighted(model, lambda jacobian, pooled: F.relu(jacobian))


def grad_cam_plus_plus(model: CxrClassifier) -> Explainer:
    """Return Grad-CAM++: sum_k relu(J_k) / (2 + J_k p_k) A_k.

    Only positive weights: at least 0 in every cell if the features are, as the method assumes. Where features can be
    negative (transformers, networks that end in a norm), 2 + J_k p_k may be near 0 or below, and the map is not
    trustworthy. The paper's factor exp(y), the same for all cells of a map, is left out, as in pytorch-grad-cam, which
    also adds 1e-6 to the denominator. Source: Chattopadhay et al., WACV 2018, arXiv 1710.11063, equations 7 and 19.
    """
    return _weighted(model, _plus_plus)


def eigen_cam(model: CxrClassifier) -> Explainer:
    """Return Eigen-CAM: the first principal component of the feature map over its cells, the same for every finding.

    It shows what the network sees, not what speaks for a finding. It is in units of the features. Channels are centred
    over the cells, as in pytorch-grad-cam. A principal component has no sign of its own; here its largest absolute
    value is positive (Chung and Ying, Applied Sciences 2025, 15(13), 7562, equation 13). Raises ModelError if the map
    has only one cell. Source: Muhammad and Yeasin, IJCNN 2020, arXiv 2008.00299, section III.
    """

    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = model.features(images)
        logits = model.head(model.pool(features))
        component = _first_component(model, features)
        return logits, component.unsqueeze(1).expand(-1, logits.shape[1], -1, -1)

    return explain


def _weighted(model: CxrClassifier, weights: Weights) -> Explainer:
    """Return the explainer whose map is the sum of channels, each times its weight."""

    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = model.features(images)
        pooled = model.pool(features)
        channel_weights = weights(model.head_jacobian(pooled), pooled)
        return model.head(pooled), torch.einsum("blk,bkhw->blhw", channel_weights, features)

    return explain


def _plus_plus(jacobian: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    denominator = 2 + jacobian * pooled.unsqueeze(1)
    weights = F.relu(jacobian) / denominator
    return torch.where(denominator == 0, torch.zeros_like(weights), weights)


def _first_component(model: CxrClassifier, features: torch.Tensor) -> torch.Tensor:
    """Return the projection of each cell's features on their first principal axis, (B, h, w)."""
    height, width = features.shape[2:]
    if height * width == 1:
        raise ModelError(
            f"eigen_cam does not fit {model.name} at {model.image_size} px: its last map has one cell, which has no "
            f"principal component; use larger images or another method"
        )
    cells = features.flatten(2).transpose(1, 2).double()  # (B, n, K)
    centred = cells - cells.mean(dim=1, keepdim=True)
    # The eigenvectors of the n x n matrix of inner products: n is smaller than K.
    values, vectors = torch.linalg.eigh(centred @ centred.transpose(1, 2))
    component = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()  # (B, n)
    low, high = component.aminmax(dim=1, keepdim=True)
    signed = torch.where(low.abs() > high.abs(), -component, component)
    return signed.unflatten(1, (height, width)).to(features.dtype)
