"""The words that a shell completes: names of activations, and what an option may be.

Each function takes what has been typed so far; what knows the words is imported when a shell asks for them.
"""

from collections.abc import Iterable


def activations(typed: str) -> list[str]:
    """Names of the catalog."""
    from theory import catalog

    return _beginning(typed, catalog.names())


def roots(typed: str) -> list[str]:
    """Which of the two values of b."""
    from theory.poincare import POLICIES

    return _beginning(typed, POLICIES)


def targets(typed: str) -> list[str]:
    """Languages of a snippet."""
    from gpn.snippets import TARGETS

    return _beginning(typed, TARGETS)


def weights(typed: str) -> list[str]:
    """Weights of a verification."""
    from gpn.request import WEIGHTS

    return _beginning(typed, WEIGHTS)


def ensembles(typed: str) -> list[str]:
    """Weights to begin a training with."""
    from gpn.weights import ENSEMBLES

    return _beginning(typed, ENSEMBLES)


def optimizers(typed: str) -> list[str]:
    """Rules of a training step."""
    from gpn.optimizers import OPTIMIZERS

    return _beginning(typed, OPTIMIZERS)


def schedules(typed: str) -> list[str]:
    """Courses of the learning rate."""
    from gpn.schedules import SCHEDULES

    return _beginning(typed, SCHEDULES)


def constraints(typed: str) -> list[str]:
    """What keeps weights orthogonal."""
    from gpn.training_step import CONSTRAINTS

    return _beginning(typed, CONSTRAINTS)


def _beginning(typed: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(typed)]
