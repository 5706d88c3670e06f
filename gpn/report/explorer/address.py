"""The state of the explorer as the query of an address, so that a view can be sent, and as a line of Python."""

from dataclasses import replace
from urllib.parse import parse_qs, urlencode

from gpn.report.explorer.model import State
from theory.errors import UsageError

_NAMES = {  # in the address -> field of the state
    "formula": "formula",
    "parameter": "value",
    "width": "width",
    "depth": "depth",
    "tolerance": "epsilon",
    "root": "root",
}


def query(state: State) -> str:
    """Return the state as the query of an address.

    Args:
        state: what is shown.

    >>> query(State("elu(alpha)", 1.3))
    'formula=elu%28alpha%29&parameter=1.3&width=256&depth=50&tolerance=0.5&root=auto'
    """
    return urlencode({name: getattr(state, field) for name, field in _NAMES.items()})


def from_query(text: str, start: State) -> State:
    """Return the state that an address holds.

    Args:
        text: the query, without its question mark; names that are not of the explorer are left alone.
        start: the state that holds where the address says nothing.

    Raises:
        UsageError: a number that cannot be read.

    >>> from_query("formula=elu%28alpha%29&depth=20&token=x", State())
    State(formula='elu(alpha)', value=0.5, width=256, depth=20, epsilon=0.5, root='auto')
    """
    given = {name: values[-1] for name, values in parse_qs(text).items() if name in _NAMES}
    read = {}
    for name, words in given.items():
        kind = type(getattr(start, _NAMES[name]))
        try:
            read[_NAMES[name]] = kind(words)
        except ValueError:
            raise UsageError(f"the address says {name}={words:.40}; write a number, such as {name}=20") from None
    return replace(start, **read)


def call(state: State) -> str:
    """Return the line of Python that opens the explorer at a state.

    Args:
        state: what is shown.

    >>> call(State("tanh", depth=20))
    "gpn.explore('tanh', value=0.5, width=256, depth=20, epsilon=0.5, root='auto')"
    """
    fields = ", ".join(f"{field}={getattr(state, field)!r}" for field in list(_NAMES.values())[1:])
    return f"gpn.explore({state.formula!r}, {fields})"
