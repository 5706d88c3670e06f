"""Errors that a user can cause; mathematical outcomes are values, never exceptions."""


class GPNError(Exception):
    """Base class of every error that this project raises on purpose."""


class UsageError(GPNError, ValueError):
    """A wrong argument; the message says what was seen, what is allowed and what to try."""


class SpecificationError(UsageError):
    """An activation that cannot be read: unknown name, bad formula, wrong parameters."""
