"""The claims whose events `gpn.verify` counts in trials. All other code names such an event by a member of the enum."""

from enum import StrEnum
from typing import Literal

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
    NETWORK = "deep-gradient-ratio"

    @property
    def is_one_layer(self) -> bool:
        """Whether the event is about one layer, not about a whole network."""
        return self is not CountedClaim.NETWORK

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides on which the event is counted; a whole network leaves the tolerance either way."""
        return SIDES if self.is_one_layer else ("either",)


ONE_LAYER = tuple(claim for claim in CountedClaim if claim.is_one_layer)
