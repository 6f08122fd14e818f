"""The table of networks: what is known of each by its name, before it is built.

Importing this module does not load torch, so that the names in a study file are checked at once.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from types import MappingProxyType

from cxr_kd.errors import ModelError
from cxr_kd.models.info import Cost, NetworkInfo

_PAPER = "arXiv 2305.06244"
_TEACHERS = "as given for the teachers of arXiv 2305.06244, with 14 findings"
_LITE = "Tan and Le, EfficientNet, ICML 2019, arXiv 1905.11946; Lite: without squeeze-and-excite, with ReLU6"
_TIMMS_TABLE = "timm's table of results (1000-way head)"
_HALF = (0.5, 0.5, 0.5)
_NETWORKS = {
    network.name: network
    for network in (
        NetworkInfo(
            name="eeea_net_c2",
            title="EEEA-Net-C2",
            kind="CNN",
            source="Termritthikun et al., Engineering Applications of Artificial Intelligence 2021, arXiv 2108.06156",
            library="ours",
            library_name="EEEA_NET_C2",
            published=MappingProxyType({"parameters": 4.7e6, "macs": 0.3e9, "file_size_mb": 18.3}),
            published_source=_PAPER,
            counted=Cost(parameters=4_732_838, macs=289_941_952, cam_grid=(7, 7)),
            weights_file="eeea-c2.pt of the darmo project's release 0.0.1",
        ),
        NetworkInfo(
            name="ofa_595",
            title="OFA-595",
            kind="CNN",
            source="Cai et al., Once-for-All, ICLR 2020, arXiv 1908.09791",
            library="ours",
            library_name="OFA_595",
            published=MappingProxyType({"parameters": 7_620_446, "macs": 0.53e9}),
            published_source=_TEACHERS,
            counted=Cost(parameters=7_620_446, macs=511_347_184, cam_grid=(7, 7)),
            weights_file="ofa595_1k_b1a18d5.pt of the darmo project's release 0.0.1",
        ),
        NetworkInfo(
            name="densenet121",
            title="DenseNet-121",
            kind="CNN",
            source="Huang et al., CVPR 2017, arXiv 1608.06993",
            library="timm",
            library_name="densenet121",
            published=MappingProxyType({"parameters": 7_978_856, "macs": 2.83e9}),
            published_source="torchvision's table of weights (1000-way head)",
            counted=Cost(parameters=6_968_206, macs=2_833_152_000, cam_grid=(7, 7)),
            weights_file="model.safetensors of timm/densenet121.ra_in1k on the Hugging Face hub",
        ),
        NetworkInfo(
            name="densenet161",
            title="DenseNet-161",
            kind="CNN",
            source="Huang et al., CVPR 2017, arXiv 1608.06993",
            library="timm",
            library_name="densenet161",
            published=MappingProxyType({"parameters": 26.50e6, "macs": 7.78e9}),
            published_source=_TEACHERS,
            counted=Cost(parameters=26_502_926, macs=7_725_729_984, cam_grid=(7, 7)),
            weights_file="model.safetensors of timm/densenet161.tv_in1k on the Hugging Face hub",
        ),
        NetworkInfo(
            name="visformer_s",
            title="Visformer-S",
            kind="transformer",
            source="Chen et al., Visformer, ICCV 2021, arXiv 2104.12533",
            library="timm",
            library_name="visformer_small",
            published=MappingProxyType({"parameters": 39.46e6, "macs": 4.88e9}),
            published_source=_TEACHERS,
            counted=Cost(parameters=39_461_358, macs=4_878_623_232, cam_grid=(7, 7)),
            weights_file="model.safetensors of timm/visformer_small.in1k on the Hugging Face hub",
            # Position embeddings are made for one grid, and patches of four sizes must divide the image evenly.
            size_step=32,
        ),
        NetworkInfo(
            name="autoformer_v2_t",
            title="AutoFormerV2-T",
            kind="transformer",
            source="Chen et al., Searching the Search Space of Vision Transformer, NeurIPS 2021, arXiv 2111.14725",
            library="timm",
            # Swin with windows of 7, 7, 14 and 7 cells in its four stages. For smaller images, a window that would be
            # larger than the map of its stage covers the whole map and does not shift.
            library_name="swin_s3_tiny_224",
            published=MappingProxyType({"parameters": 28_328_674}),
            published_source="the authors' network (1000-way head)",
            counted=Cost(parameters=27_570_440, macs=4_622_575_104, cam_grid=(7, 7)),
            weights_file=(
                "autoformerv2_tiny.pt of the darmo project's release 0.0.1, "
                "or model.safetensors of timm/swin_s3_tiny_224.ms_in1k on the Hugging Face hub"
            ),
            size_step=4,
        ),
        NetworkInfo(
            name="tf_efficientnet_lite0",
            title="EfficientNet-Lite0",
            kind="CNN",
            source=_LITE,
            library="timm",
            library_name="tf_efficientnet_lite0",
            published=MappingProxyType({"parameters": 4.65e6}),
            published_source=_TIMMS_TABLE,
            counted=Cost(parameters=3_388_942, macs=383_925_472, cam_grid=(7, 7)),
            weights_file="model.safetensors of timm/tf_efficientnet_lite0.in1k on the Hugging Face hub",
            mean=_HALF,
            std=_HALF,
        ),
        NetworkInfo(
            name="tf_efficientnet_lite2",
            title="EfficientNet-Lite2",
            kind="CNN",
            source=_LITE,
            library="timm",
            library_name="tf_efficientnet_lite2",
            published=MappingProxyType({"parameters": 6.09e6}),
            published_source=_TIMMS_TABLE,
            counted=Cost(parameters=4_829_006, macs=575_247_344, cam_grid=(7, 7)),
            weights_file="model.safetensors of timm/tf_efficientnet_lite2.in1k on the Hugging Face hub",
            mean=_HALF,
            std=_HALF,
        ),
    )
}


def names() -> tuple[str, ...]:
    """Return the names of the networks in this table; `info` and `build` also take timm's names."""
    return tuple(_NETWORKS)


@lru_cache(maxsize=64)
def info(name: str) -> NetworkInfo:
    """Return what is known of a network of this table or of timm (which loads timm).

    Raises ModelError for an unknown name, with similar names.
    """
    if name in _NETWORKS:
        return _NETWORKS[name]
    import timm

    timm_names = [*timm.list_models(), *timm.list_pretrained()]  # without and with the tag of their weights
    if name in timm_names:
        from cxr_kd.models.timm_networks import timm_info

        return timm_info(name)
    close = difflib.get_close_matches(name, [*_NETWORKS, *timm_names], n=3)
    hint = f", did you mean {' or '.join(map(repr, close))}" if close else ""
    raise ModelError(f"no network is called {name!r}{hint}; allowed: {', '.join(_NETWORKS)}, and timm's names")
