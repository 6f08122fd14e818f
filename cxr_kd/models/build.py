"""Build a network by its name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.models import ofa
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.heads import Head
from cxr_kd.models.info import NetworkInfo
from cxr_kd.models.registry import info


def build(name: str, findings: Sequence[str], *, image_size: int = 224, pretrained: bool = False) -> CxrClassifier:
    """Build a network for `findings` and images of `image_size` px, from scratch or from its ImageNet weights.

    From scratch, the weights come from torch's global random state. Raises ModelError for an unknown name, a size that
    the network cannot take, findings that `check_findings` refuses, and ImageNet weights that cannot be found.
    """
    network = info(name)
    network.check_size(image_size)
    check_findings(name, findings)
    backbone, head = _backbone_and_head(network, len(findings), image_size)
    model = CxrClassifier(name, findings, image_size, backbone, head, mean=network.mean, std=network.std)
    if pretrained:
        from cxr_kd.models.published_weights import load_imagenet  # loads timm: seconds

        load_imagenet(model)
    return model


def check_findings(name: str, findings: Sequence[str]) -> None:
    """Raise ModelError unless there are findings for the network `name`, each a text that is not empty, each once."""
    texts = all(isinstance(finding, str) and finding.strip() for finding in findings)
    if not findings or not texts or len(set(findings)) != len(findings):
        raise ModelError(f"{name} needs one or more findings, each a name and each once; got {list(findings)}")


def _backbone_and_head(network: NetworkInfo, findings: int, image_size: int) -> tuple[nn.Module, Head]:
    if network.library == "ours":
        plan = getattr(ofa, network.library_name)
        return ofa.OfaFeatures(plan), ofa.ofa_head(plan, findings)
    from cxr_kd.models.timm_networks import build_timm  # loads timm: seconds

    return build_timm(network.library_name, image_size, findings)
