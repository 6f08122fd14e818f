"""One training of a small network on bright and dark squares, in a second or two."""

import torch

from cxr_kd.data.loader import Batches
from cxr_kd.distill.objective import Objective
from cxr_kd.models.build import build
from cxr_kd.study.settings import Augmentation, Training
from cxr_kd.training.fit import Plan, fit

FINDINGS = ("Bright", "Left")
TRAINING = Training(epochs=4, batch_size=16, learning_rate=2e-3)
AUGMENTATION = Augmentation(rotate_degrees=5, translate=0.05, scale=0.05, brightness=0.05, contrast=0.1)


def batches_of(cache, table, **settings):
    image_ids = list(table.frame["image_id"])
    return Batches(cache, table, image_ids, batch_size=16, seed=1, augment=AUGMENTATION, shuffle=True, **settings)


def network(seed=0):
    torch.manual_seed(seed)
    return build("eeea_net_c2", FINDINGS, image_size=32)


def train(model, batches, resume, *, validate=None, training=TRAINING, identity="these settings", source=None):
    """Train with labels, or from a teacher if there is a `source` of answers; return the history."""
    objective = Objective({"logit_mse": 1.0} if source else {"focal_bce": 1.0})
    plan = Plan("test", 0, training, resume, identity)
    return fit(model, batches, objective, plan, validate or (lambda _: 0.5), source)


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
