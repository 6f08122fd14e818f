"""The moving average of a network's weights: smoother than the weights of any single step, and usually better."""

import copy

import torch

from cxr_kd.models.classifier import CxrClassifier

_WARM_UP = 10


class WeightEma:
    """Exponential moving average of weights, in a copy of the network.

    Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, in the exponential form used
    since Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016. The running means and variances of batch
    normalisation are averaged like weights, because they belong to them; its counters are copied. The decay grows to
    its full value as `(1 + steps) / (10 + steps)`, so that a short training is not averaged with its start.
    """

    def __init__(self, network: CxrClassifier, decay: float) -> None:
        self.network, self.decay = copy.deepcopy(network).requires_grad_(False).eval(), decay

    @torch.no_grad()
    def update(self, network: CxrClassifier, steps: int) -> None:
        """Move the average towards the network's weights after its `steps`-th step.

        The result depends only on the average before, these weights and `steps`, so resuming changes nothing.
        """
        share = 1 - min(self.decay, (1 + steps) / (_WARM_UP + steps))
        current = network.state_dict()
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(current[name], share)
            else:
                average.copy_(current[name])
