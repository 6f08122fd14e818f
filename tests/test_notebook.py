"""What papermill only warns of is an error here: a result for a question that nobody asked."""

import pytest

from cxr_kd.errors import StudyError
from cxr_kd.notebook import check_parameters

PARAMETERS = 'study = "studies/smoke.yaml"\nteacher = "alone"\nseed = 0'


@pytest.mark.parametrize("injected", ["seed = 1", 'teacher = "densenet121"\nstudy = "x.yaml"\nseed = 2', ""])
def test_known_parameters_pass(injected):
    check_parameters(["", PARAMETERS, "# Parameters\n" + injected])


def test_a_notebook_that_nobody_parameterised_passes():
    check_parameters(["", PARAMETERS, "anything = 1"])


def test_an_unknown_parameter_is_named_with_the_one_that_was_meant():
    with pytest.raises(StudyError, match=r"no parameter 'sede'; did you mean 'seed'\? It knows: study, teacher, seed"):
        check_parameters(["", PARAMETERS, "# Parameters\nsede = 1"])
