"""Smaller files: stored weights, 8-bit arithmetic, and the rule that chooses between them."""

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import numpy_helper
from onnxruntime import InferenceSession

from cxr_kd.device.exported import Answers
from cxr_kd.device.int8 import Quantiser, Way, layer_groups, ways
from cxr_kd.device.smaller import choose, map_cosine, refusal, scores
from cxr_kd.device.stored_weights import in_float16, in_int8
from cxr_kd.evaluation.resampling import spread
from cxr_kd.phantoms.draw import draw
from cxr_kd.study.data_settings import PhantomSettings
from cxr_kd.study.settings import Device, Int8

PHANTOMS = np.stack([draw(PhantomSettings(images=20, size=64), index).image for index in range(6)])


def answers(model: onnx.ModelProto) -> list[np.ndarray]:
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits", "maps"], {"image": PHANTOMS[:, None]})


@pytest.fixture(scope="module")
def model(exported) -> onnx.ModelProto:
    return onnx.load(exported.path)


@pytest.fixture(scope="module")
def quantiser(model, tmp_path_factory) -> Quantiser:
    return Quantiser(model, PHANTOMS[:4], tmp_path_factory.mktemp("between"))


def test_weights_in_16_bits_halve_the_file_and_in_8_bits_quarter_it(model) -> None:
    size = model.ByteSize()
    logits, maps = answers(model)
    for store, share, near in ((in_float16, 0.51, 2e-3), (in_int8, 0.28, 0.1)):
        smaller = store(model)
        onnx.checker.check_model(smaller, full_check=True)
        assert smaller.ByteSize() < share * size
        found, found_maps = answers(smaller)
        assert 0 < np.abs(found - logits).max() < near * np.ptp(logits)
        assert map_cosine(maps, found_maps) > 0.99


def test_only_weights_that_answers_depend_on_are_stored_smaller(model) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    other.graph.initializer.append(numpy_helper.from_array(np.ones((64, 64), np.float32), "other"))
    kept = {tensor.name: tensor for tensor in in_int8(other).graph.initializer}
    assert kept["other"].data_type == onnx.TensorProto.FLOAT


def test_a_channel_of_zeros_stays_zeros(model) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    weights = next(t for t in other.graph.initializer if len(t.dims) == 4 and np.prod(t.dims) > 2000)
    values = numpy_helper.to_array(weights).copy()
    values[0] = 0
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    assert np.isfinite(answers(in_int8(other))[0]).all()


def test_groups_of_layers_are_those_of_the_network(model) -> None:
    counts = {group: len(names) for group, names in layer_groups(model.graph).items()}
    assert counts == {"first": 1, "last": 1, "squeeze_excite": 22, "depthwise": 19, "hard_swish": 26}


@pytest.mark.parametrize("way", [Way("tensor", "minmax"), Way("channel", "percentile", ("first", "squeeze_excite"))])
def test_layers_compute_in_8_bits_unless_they_are_kept(quantiser, model, way) -> None:
    made = quantiser.quantised(way)
    quantised = {node.output[0] for node in made.graph.node if node.op_type == "DequantizeLinear"}
    in_8_bits = {node.name for node in made.graph.node if node.op_type == "Conv" and node.input[1] in quantised}
    kept = set().union(*(quantiser.groups[group] for group in way.kept))
    assert in_8_bits == {node.name for node in quantiser.layers} - kept
    assert made.ByteSize() < 0.32 * model.ByteSize()
    (logits, maps), (found, found_maps) = answers(model), answers(made)
    assert 0 < np.abs(found - logits).max() < np.ptp(logits)
    assert found_maps.shape == maps.shape


def test_a_layer_with_a_dead_channel_and_a_large_bias_can_compute_in_8_bits(model, tmp_path) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in other.graph.initializer}
    layer = Quantiser(model, PHANTOMS[:2], tmp_path).layers[3]
    values = {name: numpy_helper.to_array(constants[name]).copy() for name in layer.input[1:]}
    weights, bias = values
    values[weights][0], values[bias][0] = 1e-12, 3.0  # as a batch norm leaves a channel that is always the same
    for name, array in values.items():
        constants[name].CopyFrom(numpy_helper.from_array(array, name))
    for scales in ("tensor", "channel"):
        made = Quantiser(other, PHANTOMS[:2], tmp_path).quantised(Way(scales, "minmax"))
        assert np.corrcoef(answers(other)[0].ravel(), answers(made)[0].ravel())[0, 1] > 0.5


def test_ways_are_all_combinations() -> None:
    found = ways(Int8(scales=("tensor", "channel"), ranges=("minmax", "entropy"), kept=((), ("first", "depthwise"))))
    assert len(found) == len(set(found)) == 8
    assert str(found[-1]) == "per channel, entropy, first and depthwise in float32"


def test_scores_are_against_float32_and_name_the_finding_that_loses_most() -> None:
    labels = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, np.nan]], np.float32)
    before = np.array([[2, 2, 1], [1, 1, 1], [0, 0, 1], [-1, -1, 1]], np.float32)
    after = before.copy()
    after[1, 1] = -0.5  # below one of the two negatives
    maps = np.ones((4, 3, 2, 2), np.float32)
    wanted, found = (Answers(logits, logits, maps, logits[:, 0]) for logits in (before, after))
    row = scores(("Mass", "Edema", "Hernia"), labels, wanted, found)
    assert (row["finding"], row["finding_loss"]) == ("Edema", pytest.approx(0.25))
    assert (row["auroc_float32"], row["auroc_loss"]) == (pytest.approx(1), pytest.approx(0.125))
    assert row["map_cosine"] == pytest.approx(1)
    nothing = scores(("Mass", "Edema", "Hernia"), np.zeros_like(labels), wanted, found)
    assert nothing["finding"] == ""
    assert np.isnan(nothing["auroc_loss"])
    assert refusal(nothing, Device()) == ""


def test_the_cosine_of_maps_is_of_their_positive_parts_where_there_is_any() -> None:
    one = np.array([[[[1.0, -5], [0, 0]], [[-1, -1], [-1, -1]]]])
    other = np.array([[[[1.0, 7], [0, 0]], [[1, 1], [1, 1]]]])
    assert map_cosine(one, other) == pytest.approx(1 / np.sqrt(50))


def test_what_loses_too_much_is_refused_with_the_finding() -> None:
    row = {"auroc_loss": 0.004, "finding_loss": 0.02, "finding": "Hernia", "map_cosine": 0.97}
    assert refusal(row, Device()) == "loses 0.020 of the AUROC of Hernia (0.01 allowed)"
    assert refusal(row | {"finding_loss": 0.01}, Device()) == ""
    assert "mean AUROC (0.005 allowed)" in refusal(row | {"auroc_loss": 0.006}, Device())
    assert "0.940 to float32's (0.95 needed)" in refusal(row | {"map_cosine": 0.94}, Device())


def test_the_fastest_is_chosen_if_it_is_faster_and_else_the_smallest() -> None:
    table = pd.DataFrame(
        {
            "refused": ["", "", "loses", ""],
            "file_mb": [9.1, 4.7, 2.0, 4.8],
            "faster": [1.02, 1.01, 3, 1.4],
            "faster_low": [0.99, 0.98, 2.9, 1.3],
        }
    )
    assert choose(table) == 3
    assert choose(table.assign(faster_low=1.02)) == 1  # no more than the place of weights in memory can do
    assert choose(table.assign(refused="loses")) is None


def test_images_are_spread_over_the_whole_side() -> None:
    assert list(spread(np.arange(10), 4)) == [0, 3, 6, 9]
    assert list(spread(np.arange(3), 64)) == [0, 1, 2]
