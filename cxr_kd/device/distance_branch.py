"""The distance of `familiar` as a part of the exported network: a branch of its own, from the 8-bit image on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from cxr_kd.device.familiar import CONTRAST_FLOOR, Familiar, area_average
from cxr_kd.device.stored_weights import needed_by

if TYPE_CHECKING:
    import onnx

OUTPUT = "distance"
PREFIX = "familiar_"  # of the names of this branch's nodes, which must stay in float32 if the network is quantised


class DistanceBranch(nn.Module):
    """Images uint8 (B, 1, S, S) -> distances float32 (B,), in units of the limit: `Familiar.distances`, in torch."""

    average: torch.Tensor
    mean: torch.Tensor
    whitening: torch.Tensor

    def __init__(self, fitted: Familiar) -> None:
        super().__init__()
        of_buffers = {
            "average": area_average(fitted.image_size),
            "mean": np.array(fitted.mean),
            "whitening": np.array(fitted.whitening) / fitted.limit,
        }
        for name, values in of_buffers.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the distances."""
        cells = (self.average @ image[:, 0].float() @ self.average.T).flatten(1)
        mean = cells.mean(dim=1, keepdim=True)
        around = cells - mean
        contrast = around.square().mean(dim=1, keepdim=True).sqrt() + CONTRAST_FLOOR
        found = torch.cat([around / contrast, mean, contrast.log()], dim=1)
        return ((found - self.mean) @ self.whitening).square().sum(dim=1).sqrt()


def name_nodes(model: onnx.ModelProto) -> None:
    """Give PREFIX to the nodes that only the output `distance` needs, so that a tool can leave them out."""
    graph = model.graph
    others = needed_by(graph, *(output.name for output in graph.output if output.name != OUTPUT))
    only_here = needed_by(graph, OUTPUT) - others
    for number, node in enumerate(graph.node):
        if only_here.intersection(node.output):
            node.name = f"{PREFIX}{number}"
