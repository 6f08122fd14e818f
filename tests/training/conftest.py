import pytest
from squares import squares
from tiny_study import tiny_study

from cxr_kd.data.cache import build_cache
from cxr_kd.data.prepare import Prepared, prepare


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    return squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="session")
def cache(table, tmp_path_factory):
    return build_cache(table, tmp_path_factory.mktemp("cache"), 32, progress=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A project folder for tiny studies, shared by the tests of one file."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def data(home) -> Prepared:
    """The phantoms of every tiny study in `home`."""
    return prepare(tiny_study(home), workers=1, progress=False)
