"""What theory says of an activation is computed once for all tests of a process: nothing else takes as long."""

from functools import cache

import pytest

from gpn.verification import kinds, questions


def remembering(function, key=lambda *arguments: arguments):
    """The function, but for equal arguments asked once."""
    answers = {}

    def ask(*arguments):
        asked = key(*arguments)
        if asked not in answers:
            answers[asked] = function(*arguments)
        return answers[asked]

    return ask


def of_a_law(claim, law, epsilon, side):
    return claim, id(law), epsilon, side


@pytest.fixture(autouse=True, scope="session")
def theory_is_asked_once():
    """Laws are kept by `cache`, so that their identity is one for each activation and width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds.network, "deep_bound", remembering(kinds.network.deep_bound))
        patch.setattr(questions, "width_that_tests", remembering(questions.width_that_tests))
        patch.setattr(questions, "layer_law", cache(questions.layer_law))
        patch.setattr(questions, "gaussian_law", cache(questions.gaussian_law))
        patch.setattr(questions, "one_step", remembering(questions.one_step, of_a_law))
        yield
