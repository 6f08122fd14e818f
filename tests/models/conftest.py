"""Published weights made by a rule from their names, and the folder of the reference vectors."""

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr_kd.models.ofa import published_key

FINDINGS = tuple(f"finding {i}" for i in range(14))


def ruled(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a published tensor by the rule of the reference vectors: it depends on its key and shape only."""
    random = np.random.default_rng(zlib.crc32(key.encode()))
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_var":
        values = random.uniform(0.5, 1.5, shape)
    elif leaf == "relative_position_bias_table":
        values = 0.02 * random.standard_normal(shape)
    elif leaf in ("running_mean", "bias"):
        values = 0.1 * random.standard_normal(shape)
    elif len(shape) == 1:
        values = 1 + 0.1 * random.standard_normal(shape)
    else:
        values = np.sqrt(2 / np.prod(shape[1:])) * random.standard_normal(shape)
    return torch.from_numpy(np.asarray(values, dtype="float32"))


@pytest.fixture(scope="session")
def findings() -> tuple[str, ...]:
    return FINDINGS


@pytest.fixture(scope="session")
def published_state() -> Callable[[torch.nn.Module], dict[str, torch.Tensor]]:
    """Return a function that makes a state dict for an OFA model in its authors' layout, by the rule."""

    def make(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        state = {}
        for key, value in model.state_dict().items():
            if key.endswith("num_batches_tracked"):
                continue
            shape = (*value.shape, 1, 1) if key == "head.hidden.weight" else tuple(value.shape)
            state[published_key(key)] = ruled(published_key(key), shape)
        return state

    return make


@pytest.fixture(scope="session")
def autoformer_state() -> Callable[[torch.nn.Module], dict[str, torch.Tensor]]:
    """Return a function that makes a state dict for AutoFormerV2-T in its authors' layout, with the model's windows."""

    def make(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {
            autoformer_key(key): ruled(autoformer_key(key), tuple(v.shape)) for key, v in model.state_dict().items()
        }

    return make


def autoformer_key(key: str) -> str:
    """Return the authors' name of a key: they merge patches at the end of a stage, timm at the start of the next."""
    key = key.removeprefix("backbone.network.").replace("head.output.", "head.")
    return re.sub(r"layers\.(\d)\.downsample", lambda stage: f"layers.{int(stage[1]) - 1}.downsample", key)


@pytest.fixture(scope="session")
def oracle() -> Path:
    """Return the folder of reference vectors: CXR_KD_TEST_ORACLE, or shared/oracle beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "oracle"
    folder = Path(os.environ.get("CXR_KD_TEST_ORACLE", beside))
    if not folder.is_dir():
        pytest.skip(f"no reference vectors at {folder} (set CXR_KD_TEST_ORACLE)")
    return folder
