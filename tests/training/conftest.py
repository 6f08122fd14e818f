import pytest
from squares import squares

from cxr_kd.data.cache import build_cache


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    return squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="session")
def cache(table, tmp_path_factory):
    return build_cache(table, tmp_path_factory.mktemp("cache"), 32, progress=False)
