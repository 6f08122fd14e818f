import pytest
from small_answers import batches_in


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    return batches_in(tmp_path_factory.mktemp("squares"))
