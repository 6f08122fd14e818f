"""The family of class activation maps by name, each as an explainer of all findings of a batch at once.

`explainer(model, "score_cam")` gives logits (B, L) and evidence (B, L, h, w). Every method but `layercam16` and
`layercam8` reads the last feature map. Their maps are compared with pytorch-grad-cam's in tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods import last_map_cams as last
from cxr_kd.explanation.methods.cam import Explainer
from cxr_kd.explanation.methods.inner_layers import layer_cam_at
from cxr_kd.explanation.methods.perturbation_cams import Work, ablation_cam, score_cam
from cxr_kd.models.classifier import CxrClassifier


@dataclass(frozen=True)
class Method:
    """A way to make maps: its name for readers, how to make its explainer, and how its maps read.

    signed: whether evidence can be against a finding (below 0). If not, the weights of channels are at least 0, and so
    is the map wherever the features are. by_finding: whether different findings have different maps.
    """

    title: str
    make: Callable[[CxrClassifier, Work], Explainer]
    signed: bool
    by_finding: bool = True


METHODS: dict[str, Method] = {
    "grad_cam": Method("Grad-CAM", lambda model, work: last.grad_cam(model), signed=True),
    "grad_cam_plus_plus": Method("Grad-CAM++", lambda model, work: last.grad_cam_plus_plus(model), signed=False),
    "hires_cam": Method("HiResCAM", lambda model, work: last.hires_cam(model), signed=True),
    "layer_cam": Method("LayerCAM", lambda model, work: last.layer_cam(model), signed=False),
    "layercam16": Method("LayerCAM, stride 16", lambda model, work: layer_cam_at(model, 16), signed=False),
    "layercam8": Method("LayerCAM, stride 8", lambda model, work: layer_cam_at(model, 8), signed=False),
    "xgrad_cam": Method("XGrad-CAM", lambda model, work: last.xgrad_cam(model), signed=True),
    # Its sign is a convention: the largest absolute value is positive.
    "eigen_cam": Method("Eigen-CAM", lambda model, work: last.eigen_cam(model), signed=True, by_finding=False),
    "score_cam": Method("Score-CAM", score_cam, signed=False),
    "ablation_cam": Method("Ablation-CAM", ablation_cam, signed=True),
}


def explainer(model: CxrClassifier, method: str, *, batch_size: int = 32, progress: bool = False) -> Explainer:
    """Return the explainer of a method of `METHODS` for a network in eval mode.

    `batch_size`: masked images or ablated channels per forward pass of `score_cam` and `ablation_cam`; `progress`:
    whether these two show a progress bar. Raises ModelError for an unknown method, a network in training mode, or a
    method that does not fit the network, with the reason.
    """
    if method not in METHODS:
        raise ModelError(f"no method is called {method!r}; allowed: {', '.join(METHODS)}")
    if model.training:
        raise ModelError(f"{model.name} is in training mode, where images of a batch affect each other: call eval()")
    return METHODS[method].make(model, Work(batch_size, progress))
