"""What a verification is asked for, checked at the door, and how a run store writes it down for a later process."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpn.data.inputs import Inputs, load_inputs
from gpn.engine.shape import Numbers, Shape, numbers
from gpn.engine.weights import canonical, of_square_layers
from gpn.experiment import store as run_store
from gpn.experiment.fingerprint import array_description
from gpn.experiment.identity import Facts, Identity, resuming_command
from gpn.experiment.runs import checked_run
from gpn.experiment.versions import computing_versions, differences
from gpn.statistics.limits import row_alpha
from gpn.verification.results import DEFAULT_DEEP_EPSILONS, DEFAULT_EPSILONS, Configuration
from theory.activations.activation import Activation
from theory.activations.specification import Phi, is_reference
from theory.claims.counted import CountedClaim, chosen
from theory.errors import UsageError, listed, unknown

DEFAULT_WIDTHS = (64, 256, 1024)
DEFAULT_DEPTHS = (10, 50, 200)
DEFAULT_ONE_STEP_TRIALS = 100_000
DEFAULT_DEEP_TRIALS = 1_000
WEIGHTS = ("haar", "scaled_orthogonal", "gaussian", "he", "glorot")
MATRIX_FREE, DENSE = METHODS = ("matrix-free", "dense")
"""How networks are drawn, as in `gpn.simulate`: without matrices, or with every matrix written out."""

DENSE_WIDTHS = (16, 64)
"""Default widths with explicit matrices: a layer costs the cube of its width."""

DECIDED = "decided"
"""The value of `until` with which a run stops once its rows are decided."""
MOST_TRIALS = 10**12  # of one row; more cannot be run
MAX_EPSILON = 1e6
_MOST_UNITS = 2**32 - 1  # neurons of a layer, and layers: the identity of a random stream holds both
_FILES = ("inputs", "labels")  # the arguments that may be paths
_SHAPE = ("layers", "gain", "bias", "residual", "linear_output")
_SHOWN = ("root", "widths", "depths", "trials", "seed", "level", "weights", "until", "cap", "claims", "method", *_SHAPE)
"""What is shown as it was understood."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that decides the numbers of a report, as `gpn.verify` takes it; `Settings.read` checks it.

    Args:
        activation, derivative, inputs, labels: as they were given.
        loaded: the inputs with their labels, None for the thin shell itself.
        root: the policy of the normalization, None for the activation as it is.
        widths, depths: ascending.
        epsilons: tolerances of one layer, ascending.
        deep_epsilons: tolerances of the whole network, ascending.
        default_epsilons: whether the tolerances are the default ones, so that a question out of reach may be left out.
        trials: of each row; None to plan them.
        until: "decided" to stop each row once it is decided, None for a number of trials that is fixed in advance.
        cap: the most trials of a row that is not decided; None for a sensible number.
        claims: what is asked, as `theory.claims.counted.chosen` gives it.
        default_widths: whether the widths are the default ones, so that wider networks may be added for the theorem.
        method: how networks are drawn, one of `METHODS`.
        theorem: pairs (width, depth) of networks that are added because the deep bound says something there.
        layers: n_0, ..., n_L of one network, which is called by its widest layer; empty for square layers.
        gain, bias, residual, linear_output: as for `gpn.verify`; gain and bias one number, or one for each layer.
    """

    activation: Any = field(compare=False)
    derivative: Any = field(compare=False)
    inputs: Any = field(compare=False)
    labels: Any = field(compare=False)
    loaded: Inputs | None = field(compare=False)
    root: str | None
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    epsilons: tuple[float, ...]
    deep_epsilons: tuple[float, ...]
    default_epsilons: bool
    trials: int | None
    seed: int
    level: float
    weights: str
    until: str | None
    cap: int | None
    claims: tuple[str, ...]
    default_widths: bool
    method: str
    theorem: tuple[tuple[int, int], ...] = ()
    layers: tuple[int, ...] = ()
    gain: tuple[float, ...] = (1.0,)
    bias: tuple[float, ...] = (0.0,)
    residual: float | None = None
    linear_output: bool = False

    @classmethod
    def read(
        cls,
        activation: Any = "tanh",
        widths: Sequence[int] | int | None = None,
        depth: Sequence[int] | int = DEFAULT_DEPTHS,
        epsilons: Sequence[float] | float | None = None,
        trials: int | None = None,
        *,
        derivative: Any = None,
        level: float = 0.99,
        seed: int = 0,
        weights: str = "haar",
        root: str | None = "auto",
        inputs: Any = None,
        labels: Any = None,
        until: str | None = None,
        cap: int | None = None,
        claims: Sequence[str] | str | None = None,
        method: str = MATRIX_FREE,
        layers: Sequence[int] | None = None,
        gain: Numbers = 1.0,
        bias: Numbers = 0.0,
        residual: float | None = None,
        linear_output: bool = False,
    ) -> "Settings":
        """Check the arguments of `gpn.verify`, which these are, and load the inputs.

        Raises:
            UsageError: an argument outside its range, or inputs that cannot be read.
        """
        if labels is not None and inputs is None:
            raise UsageError("labels belong to inputs: give inputs as well, such as inputs='images.npy'")
        seed, _ = checked_run(seed, None)
        loaded = None if inputs is None else load_inputs(inputs, labels)
        trials, cap = _trials("trials", trials), _trials("cap", cap)
        _check_stopping(until, trials, cap)
        row_alpha(level, 1)  # refuses an impossible level before the work begins
        if (weights := canonical(weights)) not in WEIGHTS:
            raise unknown("weights", weights, WEIGHTS)
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        if layers is not None:
            if widths is not None or depth is not DEFAULT_DEPTHS:
                raise UsageError("layers are the widths n_0, ..., n_L of all layers; leave width and depth out")
            chain = Shape.read(layers).widths
            widths, depth = max(chain[1:]), len(chain) - 1
        settings = cls(
            activation,
            derivative,
            inputs,
            labels,
            loaded,
            root,
            widths=_integers("width", _default_widths(loaded, method) if widths is None else widths, least=2),
            depths=_integers("depth", depth, least=1),
            epsilons=_tolerances(DEFAULT_EPSILONS if epsilons is None else epsilons),
            deep_epsilons=_tolerances(DEFAULT_DEEP_EPSILONS if epsilons is None else epsilons),
            default_epsilons=epsilons is None,
            trials=trials,
            seed=seed,
            level=level,
            weights=weights,
            until=until,
            cap=cap,
            claims=chosen(claims),
            default_widths=widths is None,
            method=method,
            layers=() if layers is None or len(set(chain)) == 1 < chain[0] else chain,
            gain=_alike("gain", gain),
            bias=_alike("bias", bias),
            residual=residual,
            linear_output=linear_output,
        )
        return settings._shaped(claims is None)

    def _shaped(self, default_claims: bool) -> "Settings":
        """The same with a checked shape; of networks that are not those of the theorem only the whole is asked."""
        for depth in self.depths:
            self._shape(self.widths[0], depth)  # refuses what does not fit
        if not self.is_shaped:
            return replace(self, weights=of_square_layers(self.weights))
        if default_claims:
            return replace(self, claims=chosen("network"))
        if set(self.claims) != set(chosen("network")):
            raise UsageError("with layers, gain, bias or residual only whole networks can be asked; leave claims out")
        return self

    def _shape(self, width: int, depth: int) -> Shape:
        gain, bias = (each[0] if len(each) == 1 else each for each in (self.gain, self.bias))
        return Shape.read(self.layers or [width] * (depth + 1), gain, bias, self.residual)

    @property
    def is_shaped(self) -> bool:
        """Whether the networks differ from those of the theorem by widths, gains, biases or branches."""
        return [getattr(self, name) for name in _SHAPE] != [(), (1.0,), (0.0,), None, False]

    def shape(self, width: int, depth: int) -> Shape | None:
        """Return the shape of the networks of a width and depth, None for that of the theorem."""
        return self._shape(width, depth) if self.is_shaped else None

    @property
    def features(self) -> int:
        """How many features the inputs have, 0 for the thin shell itself."""
        return _features(self.loaded)

    @property
    def asks_network(self) -> bool:
        """Whether anything is asked of whole networks."""
        return CountedClaim.NETWORK in self.claims

    def configuration(self, raw: Phi, scale: float, shift: float) -> Configuration:
        """Return these settings as a report shows them.

        Args:
            raw: the activation before its normalization.
            scale, shift: a and b of the normalization.
        """
        loaded = self.loaded
        return Configuration(
            activation=raw.name,
            expression=str(raw.expression) if isinstance(raw, Activation) else None,
            scale=scale,
            shift=shift,
            inputs=None if loaded is None else loaded.name,
            readout="random" if loaded is None or loaded.labels is None else f"loss, {loaded.classes} classes",
            spec=_typed(self.activation),
            derivative=_typed(self.derivative),
            labels=None if self.labels is None else _typed(self.labels) or "array",
            epsilons=self.epsilons,
            deep_epsilons=self.deep_epsilons,
            theorem=self.theorem,
            default_widths=self.default_widths,
            **{name: getattr(self, name) for name in _SHOWN},
        )


def identity(settings: Settings, config: Configuration) -> Identity:
    """Return the identity of a verification: its configuration, its inputs to the last bit, how to ask for it again.

    Args:
        settings: what is asked for.
        config: the same, as the report shows it.
    """
    facts: Facts = asdict(replace(config, spec=None, derivative=None, labels=None))  # ways to write the same
    if settings.loaded is not None:  # the same numbers are the same inputs, wherever their file is
        arrays = [array for array in (settings.loaded.vectors, settings.loaded.labels) if array is not None]
        facts["inputs"] = [array_description(array) for array in arrays]
    return Identity(_plain(facts), dict(computing_versions()), _writable_call(settings))


def remembered(folder: str | os.PathLike[str], trusted: Sequence[str] | None = ()) -> Settings:
    """Return the settings with which the run in a folder was begun; nothing that they name is imported.

    Args:
        folder: where its run store is.
        trusted: the activation and derivative that the user has named again, which may be imported; None for any.

    Raises:
        UsageError: there is no run in the folder, one of other versions, one that was begun with what cannot be
            written down or with a function that is not trusted, or what the file holds is damaged.
    """
    call = recall(folder)
    try:
        functions = (call["activation"], call["derivative"])
        other = [text for text in trusted or () if text not in functions]
        if other:
            raise UsageError(f"the run in {folder} is about {functions[0]:.100}, not {other[0]:.100}; leave that out")
        strange = [] if trusted is None else [text for text in functions if is_reference(text) and text not in trusted]
        if strange:
            raise UsageError(
                f"the run in {folder} imports {' and '.join(strange):.200}, which runs that code; if you trust the "
                f"folder, resume with --trust (trust=True), or name it again: {resuming_command(Path(folder), call)}"
            )
        return Settings.read(**call)
    except UsageError:
        raise
    except Exception as error:  # the file may hold anything
        raise run_store.DamagedStore(Path(folder) / run_store.FILE, f"its call cannot be read: {error}") from error


def recall(folder: str | os.PathLike[str]) -> Facts:
    """Return the arguments of `gpn.verify` with which the run in a folder was begun.

    Args:
        folder: where its run store is.

    Raises:
        UsageError: there is no run in the folder, one of other versions, or one that was begun with what cannot be
            written down.
    """
    status = run_store.read_summary(folder)
    if status is None:
        raise UsageError(f"there is no run to resume in {folder}: it has no {run_store.FILE}")
    call = status.identity.call
    if call is None:
        raise UsageError(
            f"the run in {folder} was begun from Python with a function, an expression or arrays, which its store does "
            f"not hold; resume by the same call of gpn.verify with store={str(folder)!r}"
        )
    unlike = differences(status.identity.versions, dict(computing_versions()))
    if unlike:
        raise UsageError(
            f"the run in {folder} was begun by other versions ({'; '.join(unlike)}), which would continue with other "
            "numbers; resume with those, or name another folder to begin again"
        )
    return call | {name: _existing_path(call.get(name)) for name in _FILES}


def _alike(name: str, given: Numbers) -> tuple[float, ...]:
    """The numbers of all layers, one where they are alike."""
    each = tuple(np.atleast_1d(numbers(name, given)).tolist())
    return each[:1] if len(set(each)) == 1 else each


def _trials(name: str, number: int | None) -> int | None:
    if number is None:
        return None
    if not isinstance(number, int | np.integer) or not 1 <= number <= MOST_TRIALS:
        raise UsageError(
            f"{name} must be a whole number of at least 1 and at most {MOST_TRIALS:,}, not {number!r:.40}; leave it "
            "out for a sensible number"
        )
    return int(number)


def _check_stopping(until: str | None, trials: int | None, cap: int | None) -> None:
    if until not in (None, DECIDED):
        raise UsageError(f"until must be {DECIDED!r} or left out, not {until!r:.40}")
    if until is None and cap is not None:
        raise UsageError(f"cap is for runs with until={DECIDED!r}; give that as well, or give trials instead of cap")
    if until is not None and trials is not None:
        raise UsageError(
            f"trials fixes their number, until={DECIDED!r} does not; leave trials out, or give cap instead"
        )


def _integers(name: str, values: Sequence[int] | int, least: int) -> tuple[int, ...]:
    numbers = np.atleast_1d(np.asarray(values))
    whole = numbers.size > 0 and np.issubdtype(numbers.dtype, np.integer)
    if not whole or numbers.min() < least or numbers.max() > _MOST_UNITS:
        raise UsageError(f"every {name} must be a whole number, at least {least} and below 2**32, not {listed(values)}")
    return tuple(sorted({int(number) for number in numbers}))


def _tolerances(values: Sequence[float] | float) -> tuple[float, ...]:
    numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if numbers.size == 0 or not ((numbers > 0) & (numbers <= MAX_EPSILON)).all():
        raise UsageError(f"every epsilon must be positive, at most {MAX_EPSILON:g}, not {listed(values)}; try 0.2,0.5")
    return tuple(sorted({float(number) for number in numbers}))


def _features(loaded: Inputs | None) -> int:
    return 0 if loaded is None else loaded.features


def _default_widths(loaded: Inputs | None, method: str) -> tuple[int, ...]:
    features = _features(loaded)
    if method == DENSE:
        return DENSE_WIDTHS if features <= DENSE_WIDTHS[0] else (features,)
    return DEFAULT_WIDTHS if features <= DEFAULT_WIDTHS[0] else (features, 2 * features, 4 * features)


def _typed(value: Any) -> str | None:
    """The text that can be typed again on a command line, None for any other object."""
    return os.fspath(value) if isinstance(value, str | os.PathLike) else None


def _writable_call(settings: Settings) -> Facts | None:
    """The arguments of `gpn.verify` that ask for the same, None if they hold more than numbers, text and paths."""
    call = {name: getattr(settings, name) for name in ("activation", "derivative", "epsilons", *_FILES, *_SHOWN)}
    call["depth"] = call.pop("depths")
    call["layers"] = settings.layers or None
    if settings.layers:
        del call["depth"]
        call["widths"] = None
    if settings.default_epsilons:
        call["epsilons"] = None
    if settings.default_widths:
        call["widths"] = None
    call |= {name: _path(call[name]) for name in _FILES}
    given = [call[name] for name in ("activation", "derivative", *_FILES)]
    return _plain(call) if all(value is None or isinstance(value, str | dict) for value in given) else None


def _path(source: Any) -> Any:
    """The path of a file as it was given and from the root; anything else, such as the name of a data set, as it is."""
    if isinstance(source, str | os.PathLike) and Path(source).is_file():
        return {"given": os.fspath(source), "absolute": str(Path(source).absolute())}
    return source


def _existing_path(source: str | dict[str, str] | None) -> str | None:
    """A path as it was given, if it leads to a file from the current folder too, else from the root."""
    if isinstance(source, dict):
        return source["given"] if Path(source["given"]).is_file() else source["absolute"]
    return source


def _plain(facts: Facts) -> Facts:
    """The facts as JSON gives them back."""
    return dict(json.loads(json.dumps(facts, default=lambda number: number.item())))
