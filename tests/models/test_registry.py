"""The registry of networks: names, image sizes, and errors before anything is built."""

import subprocess
import sys

import pytest
import torch

from cxr_kd.errors import ModelError
from cxr_kd.models.build import build
from cxr_kd.models.cost import cost_of
from cxr_kd.models.registry import info, names


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("densenet16", "'densenet16[19]' or 'densenet16[19]'.*"),
        ("autoformer", "'autoformer_v2_t'.*"),
        ("efficientnet-b0", "'efficientnet_b0'.*"),
        ("resnet18.a9_in1k", ".*'resnet18.a1_in1k'.*"),
        ("tf_efficientnet_b0_ns", ".*'tf_efficientnet_b0'.*"),  # a name that timm has removed
    ],
)
def test_the_error_for_an_unknown_network_suggests_similar_names_of_ours_and_of_timm(name, close):
    with pytest.raises(
        ModelError, match=rf"called '{name}', did you mean {close}; allowed: eeea_net_c2, .*, and timm's"
    ):
        build(name, ["Mass"])


def test_the_error_for_a_name_similar_to_none_lists_our_names():
    with pytest.raises(ModelError, match=r"no network is called '\?'; allowed: eeea_net_c2, "):
        info("?")


@pytest.mark.parametrize("findings", [[], ["Mass", "Mass"], ["Mass", ""], ["Mass", 3], ["Mass", None]])
def test_findings_are_one_or_more_names_each_once(findings):
    with pytest.raises(ModelError, match="one or more findings, each a name and each once"):
        build("eeea_net_c2", findings)


def test_the_error_for_an_image_size_names_the_allowed_sizes():
    with pytest.raises(ModelError, match=r"visformer_s cannot take images of 100 px: .*multiples of 32.* 96 or 128"):
        build("visformer_s", ["Mass"], image_size=100)
    with pytest.raises(ModelError, match=r"eeea_net_c2 cannot take images of 31 px: allowed are 32 to 4096 px"):
        build("eeea_net_c2", ["Mass"], image_size=31)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("size", [32, 96, 100, 101])
def test_the_stored_grid_of_maps_is_the_grid_of_the_features(name, size):
    if size % info(name).size_step:
        with pytest.raises(ModelError):
            cost_of(name, size)
        return
    with torch.no_grad():
        features = build(name, ["Mass"], image_size=size).eval().features(torch.zeros(1, 1, size, size))
    assert cost_of(name, size).cam_grid == tuple(features.shape[-2:])


def test_names_are_known_without_torch():
    """The names in a study are checked before torch is loaded."""
    code = (
        "import sys; from cxr_kd.models.registry import info, names; [info(n).known_cost() for n in names()]; "
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
