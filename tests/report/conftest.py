"""Made-up files of a study, for the report to be written from."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_study import write_study

from cxr_kd.report.page import write_report
from cxr_kd.study import Study, load_study

MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study(tmp_path: Path, made: Callable[..., Path]) -> MakeStudy:
    """Make a study under tmp_path with every file that the report reads; the test may change them."""

    def make(kind: str = "phantom", dataset: str = "phantom", seeds: tuple[int, ...] = (0,)) -> Study:
        shutil.copytree(made(kind, dataset, seeds), tmp_path, dirs_exist_ok=True)
        return load_study(tmp_path / "studies" / "artificial.yaml")

    return make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make each kind of study once a session, and give its folder."""

    @functools.cache
    def make(kind: str, dataset: str, seeds: tuple[int, ...]) -> Path:
        home = tmp_path_factory.mktemp("artificial")
        write_study(home, kind, dataset, seeds)
        return home

    return make


@pytest.fixture(scope="session")
def report(made: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study of phantoms, to be read only."""
    home = tmp_path_factory.mktemp("report")
    shutil.copytree(made("phantom", "phantom", (0,)), home, dirs_exist_ok=True)
    return write_report(load_study(home / "studies" / "artificial.yaml"))
