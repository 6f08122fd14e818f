"""An image that does not look like the training images is far from them; a radiograph of the same source is not."""

import numpy as np
import onnx
import pandas as pd
import pytest
from runs_to_export import fitted_familiar, phantoms, write_fits, write_run
from tiny_study import ALONE, finish, tiny_study

from cxr_kd.data.images.resize import resized
from cxr_kd.data.prepare import prepare
from cxr_kd.device.distance_branch import OUTPUT, PREFIX
from cxr_kd.device.export import export
from cxr_kd.device.familiar import CELLS, FILE, Familiar, area_average, features, fit, read_beside
from cxr_kd.device.familiar_table import MIRRORED, RULES, TABLE, TEST, photographs, rates, wilson, write_familiar
from cxr_kd.errors import DataError, PredictionsError


@pytest.fixture(scope="module")
def fitted() -> Familiar:
    return fitted_familiar()


@pytest.fixture(scope="module")
def guarded(fitted, tmp_path_factory):
    """An exported model with the output `distance`."""
    folder = write_run(tmp_path_factory.mktemp("run"))
    write_fits(folder)
    fitted.write(folder / FILE)
    return export(folder, tmp_path_factory.mktemp("exported") / "student.onnx")


def test_the_limit_accepts_what_it_promises(fitted) -> None:
    assert fitted.distances(phantoms()[100:140]).max() == pytest.approx(1)  # fewer than 99: the largest is the limit
    assert fitted.quantile == 40 / 41
    assert (fitted.train_images, fitted.train_children, fitted.test_images) == (100, 1, 20)
    assert fitted.test_refused == (fitted.distances(phantoms()[140:]) > 1).sum() <= 2


@pytest.mark.parametrize("rule", [name for name in RULES if name != MIRRORED])
def test_wrong_phantoms_are_refused(fitted, rule) -> None:
    assert (fitted.distances(RULES[rule](phantoms()[140:])) > 1).all()


def test_photographs_are_refused(fitted) -> None:
    assert (fitted.distances(photographs(64)) > 1).all()


def test_exposure_is_no_reason(fitted) -> None:
    images = phantoms()[140:].astype(int)
    assert (fitted.distances(images + 10) > 1).mean() <= 0.1


def test_distances_are_mahalanobis_distances_of_the_fit() -> None:
    """Of numbers that are drawn from a Gaussian with few components, the squared distance is chi-squared."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(5, 66))
    drawn = random.normal(size=(6000, 5)) @ mixing + 0.1 * random.normal(size=(6000, 66))
    sides = {"train": drawn[:2000], "validation": drawn[2000:4000], "test": drawn[4000:]}
    template = fitted_familiar()
    predictions = _predictions_like(template)
    found = fit(sides, np.full(2000, np.nan), 64, predictions)
    raw = found.distances_of(drawn[4000:]) * found.limit
    assert np.mean(raw**2) == pytest.approx(66, rel=0.05)
    assert found.quantile == pytest.approx(0.99, abs=1e-3)
    assert found.test_refused / 2000 == pytest.approx(0.01, abs=0.008)
    assert found.train_children is None


def _predictions_like(fitted: Familiar):
    from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata

    metadata = PredictionsMetadata.model_validate({
        "study": fitted.study, "dataset": "phantom", "kind": "phantom", "run": fitted.run, "network": "eeea_net_c2",
        "split": "random-70-10-20", "split_sha256": fitted.split_sha256, "side": "validation", "split_sides": {},
        "findings": ("Mass",),
    })  # fmt: skip
    return Predictions.from_arrays(["i"], ["p"], np.zeros((1, 1)), np.zeros((1, 1)), metadata)


@pytest.mark.parametrize("size", [64, 100, 224])
def test_cells_are_area_means(size) -> None:
    image = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)
    average = area_average(size)
    np.testing.assert_allclose(average.sum(axis=1), 1)
    np.testing.assert_allclose(average @ image @ average.T, resized(image, CELLS), atol=0.5001)


def test_too_few_images_are_an_error() -> None:
    few = {side: np.zeros((5, 66)) for side in ("train", "validation", "test")}
    with pytest.raises(DataError, match="5 images on the train side are too few"):
        fit(few, np.zeros(5), 64, _predictions_like(fitted_familiar()))


def test_the_file_keeps_the_fit_and_belongs_to_one_run(fitted, tmp_path) -> None:
    weights = tmp_path / "model.safetensors"
    assert read_beside(weights, "net-seed0", "0" * 64, 64) is None
    fitted.write(tmp_path / FILE)
    assert read_beside(weights, "net-seed0", "0" * 64, 64) == fitted
    for other in (("other", "0" * 64, 64), ("net-seed0", "1" * 64, 64), ("net-seed0", "0" * 64, 128)):
        with pytest.raises(DataError, match="on another split or image size; remove it"):
            read_beside(weights, *other)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(PredictionsError, match="cannot be read"):
        read_beside(weights, "net-seed0", "0" * 64, 64)


def test_the_exported_file_gives_the_distance(guarded, fitted) -> None:
    images = np.concatenate([phantoms()[140:], 255 - phantoms()[140:142]])
    np.testing.assert_allclose(guarded.run(images).distances, fitted.distances(images), rtol=1e-4)
    told = guarded.metadata.familiar
    assert (told.test_images, told.train_images, told.train_children) == (20, 100, 1)
    onnx.checker.check_model(onnx.load(guarded.path), full_check=True)


def test_its_nodes_are_named_and_feed_no_other_output(guarded) -> None:
    graph = onnx.load(guarded.path).graph
    own = [node for node in graph.node if node.name.startswith(PREFIX)]
    made = {name for node in own for name in node.output}
    assert OUTPUT in made
    assert sum(node.op_type == "MatMul" for node in own) >= 3
    assert not [node for node in graph.node if node not in own and made & set(node.input)]
    assert {output.name for output in graph.output} == {"logits", "maps", "probabilities", "distance"}


def test_without_a_fit_the_output_is_missing(exported) -> None:
    assert exported.metadata.familiar is None
    assert "distance" not in exported.loaded.run(np.zeros((1, 1, 64, 64), np.uint8))
    assert np.isnan(exported.run(phantoms()[:3]).distances).all()


def test_a_fit_of_another_split_is_not_exported(tmp_path) -> None:
    folder = write_run(tmp_path)
    fitted_familiar(split_sha256="1" * 64).write(folder / FILE)
    with pytest.raises(DataError, match="another split"):
        export(folder, tmp_path / "student.onnx")


def test_the_table_counts_test_images_and_wrong_ones(fitted) -> None:
    test = phantoms()[140:]
    table = rates(fitted, fitted.distances(test), np.array([5.0, np.nan, *np.full(18, 60.0)]), test).set_index("images")
    assert (table.loc[TEST, "n"], table.loc[TEST, "refused"]) == (20, fitted.test_refused)
    assert table.loc["inverted", "share"] == 1
    assert table["n"].iloc[1] == 1  # one child
    assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()


def test_wilsons_interval_is_that_of_the_library() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for count, n in ((0, 10), (3, 300), (20, 20)):
        np.testing.assert_allclose(wilson(count, n), proportion_confint(count, n, method="wilson"), atol=1e-6)


def test_a_study_gets_one_fit_for_all_runs(tmp_path) -> None:
    study = tiny_study(tmp_path, ALONE, more="")
    file = study.file
    file.write_text(file.read_text().replace("images: 60,", "images: 160,"))
    from cxr_kd.study import load_study

    study = load_study(file)
    finish(study)
    data = prepare(study, workers=1, progress=False)
    table = write_familiar(study, study.all_runs, data)
    assert table["n"][0] == len(data.split.test)
    pd.testing.assert_frame_equal(pd.read_csv(study.runs_folder / TABLE), table, check_exact=False)
    fits = [Familiar.read(study.run_folder(run) / FILE) for run in study.all_runs]
    assert [each.run for each in fits] == [run.name for run in study.all_runs]
    assert len({each.limit for each in fits}) == 1
    pixels = data.cache.pixels(data.cache.rows(data.split.test))
    assert fits[0].test_refused == (fits[0].distances_of(features(pixels)) > 1).sum() == table["refused"][0]
