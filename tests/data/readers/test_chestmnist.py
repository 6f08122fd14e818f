import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from own_miniatures import write_chestmnist

from cxr_kd.data import read
from cxr_kd.data.images import archive
from cxr_kd.data.readers import chestmnist, chestxray14
from cxr_kd.data.readers.chestmnist import FINDINGS, PUBLISHED
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import ChestmnistSettings, DataSettings

SIZES = (28, 64, 128, 224)


def options(size: int = 64, download: bool = False) -> ChestmnistSettings:
    return ChestmnistSettings(size=size, download=download)


def rewrite(root: Path, **changes: np.ndarray | None) -> Path:
    """Write the 64 px file again with other arrays, without those that are None."""
    path = root / "chestmnist_64.npz"
    with np.load(path) as arrays:
        kept = {**arrays, **changes}
    np.savez_compressed(path, **{name: values for name, values in kept.items() if values is not None})
    return root


@pytest.mark.parametrize("size", SIZES)
def test_every_row_is_its_image_and_its_labels(tmp_path: Path, size: int):
    root = write_chestmnist(tmp_path, size, images=40)
    table = read(DataSettings(dataset="chestmnist", split="medmnist-random-70-10-20", chestmnist=options(size)), root)
    with np.load(root / chestmnist.file_name(size)) as arrays:
        assert np.array_equal(
            table.labels(), np.concatenate([arrays[f"{side}_labels"] for side in ("train", "val", "test")])
        )
        found = np.stack([archive.image(str(root / path)) for path in table.frame["path"]])
        assert np.array_equal(found, np.concatenate([arrays[f"{side}_images"] for side in ("train", "val", "test")]))
    assert (table.dataset, table.kind, table.findings) == ("chestmnist", "mini", FINDINGS)
    assert table.frame[["image_id", "path", "patient_id", "view", "sex"]].iloc[28].tolist() == [
        "validation-000000", f"{chestmnist.file_name(size)}#val_images/0", "validation-000000", "", "",
    ]  # fmt: skip
    assert table.frame["age"].isna().all()


def test_the_split_is_that_of_the_file(tmp_path: Path):
    table = chestmnist.read(write_chestmnist(tmp_path, images=40))
    assert {side: len(ids) for side, ids in table.given_split.items()} == {"train": 28, "validation": 4, "test": 8}
    assert sum(len(ids) for ids in table.given_split.values()) == table.frame["image_id"].nunique()
    assert min(table.given_split["test"]) == "test-000000"


def test_what_a_reader_of_the_report_must_know(tmp_path: Path):
    source = chestmnist.read(write_chestmnist(tmp_path, images=40)).source
    assert "Each image counts as a patient of its own" in source["patients"]
    assert "not the official split" in source["split"]
    assert "no model that learned from one is scored on the other" in source["same images"]


def test_only_some_findings_and_the_labels_alone(tmp_path: Path):
    root = rewrite(write_chestmnist(tmp_path, images=40), train_images=np.zeros(3))
    table = chestmnist.read(root, ["Hernia", "Mass"], images=False)
    with np.load(root / "chestmnist_64.npz") as arrays:
        assert np.array_equal(table.labels()[:28], arrays["train_labels"][:, [13, 4]])


def test_other_pixels_are_another_cache(tmp_path: Path):
    first = chestmnist.read(write_chestmnist(tmp_path, images=40)).files_sha256
    assert chestmnist.read(tmp_path).files_sha256 == first
    with np.load(tmp_path / "chestmnist_64.npz") as arrays:
        images = arrays["train_images"]
    images[0, 0, 0] ^= 1
    assert chestmnist.read(rewrite(tmp_path, train_images=images)).files_sha256 != first


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"val_labels": None}, r"no array 'val_labels'; it holds: train_images"),
        ({"test_images": None}, r"no array 'test_images'"),
        ({"train_labels": np.zeros((28, 13), np.uint8)}, r"'train_labels' is uint8 \(28, 13\), not integers \(N, 14\)"),
        ({"train_labels": np.zeros((28, 14))}, r"'train_labels' is float64"),
        ({"val_labels": np.full((4, 14), 2)}, r"'val_labels' holds 2 at row 0, column 0 \(Atelectasis\); allowed: 0"),
        ({"val_labels": np.zeros((5, 14), int)}, r"'val_images' is uint8 \(4, 64, 64\), not uint8 \(5, 64, 64\)"),
        ({"test_images": np.zeros((8, 28, 28), np.uint8)}, r"'test_images' is .*, not uint8 \(8, 64, 64\)"),
    ],
)  # fmt: skip
def test_a_wrong_array_is_named(tmp_path: Path, changes: dict, why: str):
    root = rewrite(write_chestmnist(tmp_path, images=40), **changes)
    with pytest.raises(DataError, match=rf"chestmnist_64\.npz: .*{why}"):
        chestmnist.read(root)


def test_absent_data_says_what_to_put_where_or_to_set(tmp_path: Path):
    write_chestmnist(tmp_path, 28, images=40)
    with pytest.raises(DataError, match=r"chestmnist_128\.npz: no such file. Put .*Zenodo.*download: true") as caught:
        chestmnist.read(tmp_path, options=options(128))
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "chestmnist_128.npz").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"chestmnist_128\.npz: not a complete \.npz archive"):
        chestmnist.read(tmp_path, options=options(128))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *told) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a ChestMNIST file on a local server, at the address that the medmnist package now uses."""
    import medmnist

    monkeypatch.setenv("no_proxy", "*")
    file = write_chestmnist(tmp_path / "server", images=40) / "chestmnist_64.npz"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=file.parent)) as server:
        address = f"http://127.0.0.1:{server.server_port}/{file.name}"
        monkeypatch.setitem(medmnist.INFO["chestmnist"], "url_64", address)
        monkeypatch.setitem(medmnist.INFO["chestmnist"], "MD5_64", hashlib.md5(file.read_bytes()).hexdigest())
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield file
        server.shutdown()
        thread.join()


def test_the_file_is_downloaded_once(tmp_path: Path, published: Path):
    assert len(chestmnist.read(tmp_path / "data", options=options(download=True))) == 40
    published.unlink()
    assert len(chestmnist.read(tmp_path / "data", options=options(download=True))) == 40
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["chestmnist_64.npz"]


@pytest.mark.parametrize(("fault", "why"), [("not there", "HTTP Error 404"), ("other content", "corrupted")])
def test_a_failed_download_says_why_and_leaves_nothing_behind(tmp_path: Path, published: Path, fault: str, why: str):
    if fault == "not there":
        published.unlink()
    else:
        published.write_bytes(published.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"chestmnist_64\.npz: the download failed \(.*{why}.*\)\. Put .*Zenodo"):
        chestmnist.read(tmp_path / "data", options=options(download=True))
    assert list((tmp_path / "data").iterdir()) == []


def test_constants_agree_with_medmnist():
    from medmnist import INFO

    told = INFO["chestmnist"]
    theirs = [told["label"][str(number)].replace("pleural", "pleural_thickening") for number in range(14)]
    assert theirs == [name.lower() for name in FINDINGS]
    assert FINDINGS == chestxray14.FINDINGS
    sides = {"train": "train", "validation": "val", "test": "test"}
    assert {side: images for side, (images, _) in PUBLISHED.sides.items()} == {
        side: told["n_samples"][name] for side, name in sides.items()
    }
    assert sum(told["n_samples"].values()) == PUBLISHED.images == chestxray14.PUBLISHED.images
    assert told["license"] in chestmnist.SOURCE["licence"]
    for size in SIZES:
        record, name = told["url" if size == 28 else f"url_{size}"].split("?")[0].split("/files/")
        assert (name, record.endswith("/10519652")) == (chestmnist.file_name(size), True)
    assert "10519652" in chestmnist.SOURCE["where"]


def test_an_existing_file_is_read_without_torch(tmp_path: Path):
    write_chestmnist(tmp_path, images=40)
    program = (
        "import sys; from cxr_kd.data.readers import chestmnist; "
        "from cxr_kd.study.data_settings import ChestmnistSettings as Settings; "
        f"chestmnist.read({str(tmp_path)!r}, options=Settings(download=True)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
