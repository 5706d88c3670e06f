"""What theory says of an activation is computed once for all tests of a process: nothing else takes as long."""

from functools import cache

import pytest
from matplotlib.figure import Figure

from gpn.verification import kinds, questions


def remembering(one_step):
    """Each tail asked once. A law has no hash: it counts by its identity, and is kept, so that no other takes that."""
    answers = {}

    def ask(claim, law, epsilon, side):
        asked = claim, id(law), epsilon, side
        if asked not in answers:
            answers[asked] = law, one_step(claim, law, epsilon, side)
        return answers[asked][1]

    return ask


@pytest.fixture(autouse=True, scope="session")
def theory_is_asked_once():
    """Laws are kept by `cache`, so that their identity is one for each activation and width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds.network, "deep_bound", cache(kinds.network.deep_bound))
        patch.setattr(questions, "width_that_tests", cache(questions.width_that_tests))
        patch.setattr(questions, "layer_law", cache(questions.layer_law))
        patch.setattr(questions, "gaussian_law", cache(questions.gaussian_law))
        patch.setattr(questions, "one_step", remembering(questions.one_step))
        yield


@pytest.fixture
def undrawn():
    """Files of figures without a drawing, for tests of what a command prints; `undrawn.undo()` draws again."""

    def savefig(_figure, target, *, format, **_):
        if format == "svg":
            target.write("<svg></svg>")
        else:
            target.write_bytes(b"")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield patch
