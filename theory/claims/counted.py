"""The claims whose events `gpn.verify` counts in trials. All other code names such an event by a member of the enum."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from theory.errors import UsageError, unknown

Side = Literal["upper", "lower"]
SIDES: tuple[Side, ...] = ("upper", "lower")
"""The tails of a ratio of one layer: 1 + epsilon or more, and 1 - epsilon or less."""


class CountedClaim(StrEnum):
    """The id of a counted claim, as it stands in rows, frames and files.

    >>> f"{CountedClaim.FORWARD}", CountedClaim.FORWARD.sides, CountedClaim("deep-gradient-ratio").sides
    ('forward-one-step', ('upper', 'lower'), ('either',))
    """

    FORWARD = "forward-one-step"
    BACKWARD_RANDOM = "backward-one-step-random"
    BACKWARD_FIXED = "backward-one-step-fixed"
    GAUSSIAN_FORWARD = "forward-gaussian-input"
    GAUSSIAN_BACKWARD = "backward-gaussian-input"
    COORDINATES = "coordinates-normal"
    NETWORK = "deep-gradient-ratio"

    @property
    def is_one_layer(self) -> bool:
        """Whether the event is about one layer, not about a whole network."""
        return self is not CountedClaim.NETWORK

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides on which the event is counted; a whole network leaves the tolerance either way."""
        return SIDES if self.is_one_layer and self is not CountedClaim.COORDINATES else ("either",)


ONE_LAYER = (CountedClaim.FORWARD, CountedClaim.BACKWARD_RANDOM, CountedClaim.BACKWARD_FIXED)
NORMAL = (CountedClaim.GAUSSIAN_FORWARD, CountedClaim.GAUSSIAN_BACKWARD)
"""Claims about sums over standard normal pre-activations, as Gaussian inputs make them."""


GROUPS: dict[str, tuple[str, ...]] = {
    "network": (CountedClaim.NETWORK,),
    "one-layer": ONE_LAYER,
    "lemmas": (*NORMAL, CountedClaim.COORDINATES),
    "engine": ("engine",),
}
"""What may be asked by one name: the whole network, single layers, normal pre-activations, laws of the engine."""


def chosen(names: Sequence[str] | str | None) -> tuple[str, ...]:
    """Return the claims of the given names, in the order of the register.

    Args:
        names: names of `GROUPS` and ids of counted claims, as a sequence or separated by commas; None for all.

    Raises:
        UsageError: a name that is neither.

    >>> chosen("network"), len(chosen(None)) == sum(map(len, GROUPS.values()))
    (('deep-gradient-ratio',), True)
    """
    known = [str(claim) for claims in GROUPS.values() for claim in claims]
    asked = list(GROUPS) if names is None else names.split(",") if isinstance(names, str) else list(names)
    wanted: set[str] = set()
    for name in asked:
        if name not in GROUPS and name not in known:
            raise unknown("claims", name, [*GROUPS, *(claim for claim in known if claim not in GROUPS)])
        wanted |= set(map(str, GROUPS.get(name, (name,))))
    if not wanted:
        raise UsageError(f"no claims to verify; choose from {', '.join(GROUPS)}, or leave claims out for all")
    return tuple(claim for claim in known if claim in wanted)
