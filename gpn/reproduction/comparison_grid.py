"""The networks of the training comparison, the learning rates that each may try, and the rule that picks one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from gpn.data.datasets import Dataset
from gpn.reproduction.gradient_settings import GPN, PLAIN, normalized, roots
from gpn.training.optimizers import optimizer
from gpn.training.settings import TrainingSettings
from gpn.training.start import default_rate
from theory.activations.activation import NumericActivation
from theory.activations.specification import activation as read_activation
from theory.errors import UsageError

RATE_FACTORS = (0.25, 1.0, 4.0)
"""Times `gpn.training.start.default_rate`: the learning rates that every network tries first."""

EXTENSIONS = 5
"""How often a further rate is tried where the best one is the smallest or the largest so far."""

LINEAR = "linear"
"""Key of the control that has no activation."""

VALIDATION_SHARE = 0.2
"""Of the training samples, held out while a learning rate is picked."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Recipe that makes a network of an activation.

    Args:
        words: what a figure calls it.
        normalized: a phi + b with the root that is recommended ("auto"), with the other one ("other"), or None.
        weights, batch_normalization, optimizer: as for `gpn.train`.
    """

    words: str
    normalized: str | None
    weights: str
    batch_normalization: bool = False
    optimizer: str = "sgd"


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "gpn": Recipe("GPN, orthogonal", "auto", "haar"),
        "gpn-other": Recipe("GPN, other root, orthogonal", "other", "haar"),
        "gpn-gaussian": Recipe("GPN, Gaussian", "auto", "gaussian"),
        "plain": Recipe("plain, orthogonal", None, "haar"),
        "plain-gaussian": Recipe("plain, Gaussian", None, "gaussian"),
        "plain-gaussian-bn": Recipe("plain, Gaussian, batch norm", None, "gaussian", batch_normalization=True),
        "gpn-adam": Recipe("GPN, orthogonal, Adam", "auto", "haar", optimizer="adam"),
        "plain-gaussian-adam": Recipe("plain, Gaussian, Adam", None, "gaussian", optimizer="adam"),
        LINEAR: Recipe("linear control", None, "haar"),
    }
)
"""Every network of the comparison by its key; each is built from every activation, the linear control once."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One kind of network at one depth: what competes.

    Args:
        activation: name of the activation as it is.
        recipe: a key of `RECIPES`.
        depth: L, hidden layers.
        phi: what the network applies.
        root, chi: those of the normalization; None for an activation as it is.
    """

    activation: str
    recipe: str
    depth: int
    phi: NumericActivation
    root: str | None = None
    chi: float | None = None

    @property
    def treatment(self) -> str:
        """Whether phi is "GPN" or "as it is"."""
        return PLAIN if self.root is None else GPN

    @property
    def words(self) -> str:
        """The name in the terminal and in errors.

        >>> next(candidates(["relu"], [10], ["gpn"])).words
        'relu, GPN (b_plus), orthogonal, depth 10'
        """
        if self.recipe == LINEAR:
            return f"linear control, depth {self.depth}"
        words = RECIPES[self.recipe].words.replace("GPN, other root", "GPN").replace("GPN", f"GPN (b_{self.root})")
        return f"{self.activation}, {words}, depth {self.depth}"

    def settings(self, width: int) -> TrainingSettings:
        """Return the settings of `gpn.train` for this network.

        Args:
            width: n.
        """
        recipe = RECIPES[self.recipe]
        return TrainingSettings(
            depth=self.depth,
            width=width,
            root=None,
            weights=recipe.weights,
            batch_normalization=recipe.batch_normalization,
            optimizer=recipe.optimizer,
        )

    def rates(self, width: int, classes: int, correlation: float, factors: Sequence[float]) -> tuple[float, ...]:
        """Return the learning rates that may be tried, ascending: `factors` times the default of `gpn.train`.

        Args:
            width: n.
            classes: K.
            correlation: mean correlation of two training samples.
            factors: what the default is multiplied by.
        """
        settings = self.settings(width)
        base = default_rate(self.phi, optimizer(settings.optimizer), settings, classes, correlation)
        return tuple(base * factor for factor in sorted(factors))


def candidates(activations: Sequence[object], depths: Sequence[int], recipes: Sequence[str]) -> Iterator[Candidate]:
    """Yield all kinds of networks: for each activation, recipe and depth; the linear control last, for each depth.

    The other root is left out where it behaves like the recommended one: an odd activation has mirror images.

    Args:
        activations: as for `gpn.activation`.
        depths: hidden layers.
        recipes: keys of `RECIPES`.

    Raises:
        UsageError: an activation that cannot be read or has no normalization, or that is given twice.

    >>> [candidate.recipe for candidate in candidates(["tanh"], [10], ["gpn", "gpn-other", "plain"])]
    ['gpn', 'plain']
    """
    seen: set[str] = set()
    for spec in activations:
        phi = read_activation(spec)
        if phi.name in seen:
            raise UsageError(f"each activation can be given once, not {', '.join(map(str, activations))}")
        seen.add(phi.name)
        chosen, other = roots(phi)
        for recipe in recipes:
            if recipe == LINEAR:
                continue
            wanted = RECIPES[recipe].normalized
            root = chosen if wanted == "auto" else other
            for depth in depths:
                if wanted is None:
                    yield Candidate(phi.name, recipe, depth, phi)
                elif root is not None:
                    yield Candidate(phi.name, recipe, depth, normalized(phi, root), root.root, root.chi)
    if LINEAR in recipes:
        identity = read_activation("identity")
        for depth in depths:
            yield Candidate(identity.name, LINEAR, depth, identity)


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one learning rate on the validation samples.

    Args:
        rate: the learning rate.
        accuracy, loss: on the validation samples after the last epoch; None for a run that diverged.
    """

    rate: float
    accuracy: float | None
    loss: float | None


def pick(trials: Sequence[Trial]) -> Trial:
    """Pick a learning rate: the highest validation accuracy, then the lowest validation loss, then the smallest rate.

    If every rate diverged, the smallest is taken; its runs are reported as they are.

    Args:
        trials: one for each learning rate.

    >>> pick([Trial(0.1, 0.8, 0.5), Trial(0.4, 0.8, 0.4), Trial(1.6, None, None)]).rate
    0.4
    """
    finished = [trial for trial in trials if trial.accuracy is not None]

    def order(trial: Trial) -> tuple[float, float, float]:
        loss = np.inf if trial.loss is None or np.isnan(trial.loss) else trial.loss
        return -(trial.accuracy or 0.0), loss, trial.rate

    return min(finished or trials, key=order)


def beyond(trials: Sequence[Trial]) -> float | None:
    """Return the rate to try next: beyond the best one if that lies at an end of those tried, else None.

    The next rate continues the grid by the ratio of its last two rates.

    Args:
        trials: one for each learning rate, in any order.

    >>> beyond([Trial(0.1, 0.8, 0.5), Trial(0.4, 0.9, 0.4)]), beyond([Trial(0.1, 0.9, 0.1)])
    (1.6, None)
    """
    rates = sorted(trial.rate for trial in trials)
    best = pick(trials).rate
    if len(rates) < 2 or rates[0] < best < rates[-1]:
        return None
    return rates[-1] / rates[-2] * rates[-1] if best == rates[-1] else rates[0] / rates[1] * rates[0]


def validation_split(data: Dataset) -> Dataset:
    """Return the training samples alone, split into those to train on and, instead of a test set, those to validate.

    Args:
        data: whose test samples do not take part.

    >>> from gpn.data.datasets import load_dataset
    >>> validation_split(load_dataset("digits"))
    <Dataset digits: 1150 samples to train on, 288 to test, 64 features, 10 classes>
    """
    order = np.random.default_rng(1).permutation(len(data.x_train))
    held, rest = np.split(order, [round(VALIDATION_SHARE * len(order))])
    parts = (data.x_train[rest], data.y_train[rest], data.x_train[held], data.y_train[held])
    return Dataset(*parts, data.classes, data.name)
