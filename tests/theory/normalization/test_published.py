"""The published constants as data, and tables of one's own."""

import mpmath
import pandas as pd
import pytest

from theory.activations.catalog import build
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.gaussian.closed_form import closed_form
from theory.normalization.published import CONVENTIONS, PUBLISHED, number, read_table


def test_entries_are_well_formed():
    ids = [entry.id for entry in PUBLISHED]
    assert len(set(ids)) == len(ids)
    for entry in PUBLISHED:
        assert len(entry.values) == len(CONVENTIONS[entry.convention].quantities)
        assert all(mpmath.isfinite(number(text, 20)) for text in entry.values)
        assert activation(entry.activation).pieces
        assert entry.where
        assert entry.source


def test_known_values_are_there():
    values = {entry.id: entry.values for entry in PUBLISHED}
    assert values["lu2020/gelu"] == ("1.4915", "-0.9097")
    assert values["torch/tanh"] == ("5/3",)
    for name, digits in {
        "relu": "1.7139588594",
        "gelu": "1.7015043497",
        "silu": "1.7881293297",
        "tanh": "1.5939117670",
        "elu": "1.2716004848",
        "celu": "1.2709268332",
        "sigmoid": "4.8038353920",
        "selu": "1.0008515120",
    }.items():
        assert f"{float(values[f'nfnet/{name}'][0]):.10f}" == digits


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.id)
def test_conventions_are_understood_rightly(entry):
    """Every constant meets its convention to a percent, except the gains that PyTorch chose for other reasons."""
    if entry.id in ("torch/tanh", "torch/sigmoid", "torch/selu"):
        return
    form = closed_form(activation(entry.activation))
    if form is None or None in (form.mean, form.second_moment, form.slope_second_moment):
        return
    mean, second, slope = (float(value) for value in (form.mean, form.second_moment, form.slope_second_moment))
    first, *rest = (float(number(text, 20)) for text in entry.values)
    outcomes = {
        "gpn": lambda: (first**2 * second + 2 * first * rest[0] * mean + rest[0] ** 2, first**2 * slope),
        "unit-variance": lambda: (first**2 * (second - mean**2),),
        "unit-second-moment": lambda: (first**2 * second,),
        "gain": lambda: (first**2 * second,),
        "self-normalizing": lambda: (second, 1 + mean),  # of SELU with the exact constants
    }[entry.convention]()
    assert outcomes == pytest.approx([1.0] * len(outcomes), abs=0.015)


def test_selu_constants():
    entry = next(entry for entry in PUBLISHED if entry.id == "klambauer2017/selu")
    alpha, scale = (number(text, 40) for text in entry.values)
    form = closed_form(build("elu", str_to_rational(entry.values[0])))
    moments = form.evaluate(40, moments_only=True)
    with mpmath.workdps(45):
        assert abs(moments["mean"]) < mpmath.mpf(10) ** -31
        assert abs(scale**2 * moments["second_moment"] - 1) < mpmath.mpf(10) ** -30
        assert alpha > scale


def str_to_rational(text):
    import sympy

    return sympy.Rational(text)


def test_own_table_from_csv(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "\ufeffActivation, a, b, scale, convention, source\n"
        "# a comment, skipped\n"
        "\n"
        "tanh, 1.4674, 0.3885\n"
        '"leaky_relu(0.2)",,,"sqrt(2/(1 + 0.2**2))",gain,He\n'
        "x*tanh(x),,,1.5, Unit-Variance\n",
        encoding="utf-8",
    )
    entries = list(read_table(path))
    assert [(entry.convention, entry.values) for entry in entries] == [
        ("gpn", ("1.4674", "0.3885")),
        ("gain", ("sqrt(2/(1 + 0.2**2))",)),
        ("unit-variance", ("1.5",)),
    ]
    assert entries[1].source == "He"
    assert entries[0].id == "mine.csv, line 4"
    assert list(read_table(str(path))) == entries
    assert list(read_table(entries)) == entries


def test_own_table_from_a_frame():
    frame = pd.DataFrame(
        {"Activation": ["tanh", "relu"], "a": [1.4674, None], "b": [0.3885, None], "scale": [None, 1.7]}
    )
    frame["convention"] = ["gpn", "unit-variance"]
    first, second = read_table(frame)
    assert first.values == ("1.4674", "0.3885")
    assert (second.convention, second.values) == ("unit-variance", ("1.7",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("activation,a\ntanh,1\n", "line 1: the columns are a, activation; needed are activation, a, b"),
        ("activation;a;b\ntanh;1;2\n", "commas"),
        ("activation,a,b\n", "no rows"),
        ("activation,a,b\ntanh,1.4,x1\n", "line 2: .*x1"),
        ("activation,a,b\ntanh,1.4,x\n", "line 2: 'x' is not a number"),
        ("activation,a,b\n\ntanh,1.4,\n", "line 3: a number is missing"),
        ("activation,a,b\ntanh,1.4,nan\n", "line 2"),
        ("activation,a,b\ntanh,0,1\n", "line 2: a scale of 0"),
        ("activation,a,b\ntangens,1,1\n", "line 2: .*tangens"),
        ("activation,a,b\nelu(x, 2),1,1\n", "line 2: 4 fields.*double quotes"),
        ("activation,scale,convention\ntanh,1.5,variance\n", "line 2: the convention of a scale is unit-variance"),
        ("activation,a,b,scale,convention\ntanh,1,1,1,gain\n", "line 2: give a and b, or scale"),
        ('activation,a,b\n"tanh,1,1\n', "line"),
        ("activation,a,b\n\"__import__('os')\",1,1\n", "line 2"),
    ],
)
def test_bad_tables_name_the_line(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        list(read_table(path))


def test_unreadable_tables(tmp_path):
    with pytest.raises(UsageError, match="read the table"):
        list(read_table(tmp_path / "missing.csv"))
    with pytest.raises(UsageError, match="read the table"):
        list(read_table(tmp_path))
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"activation,a,b\n\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        list(read_table(binary))
    with pytest.raises(UsageError, match="not int"):
        list(read_table(3))
    with pytest.raises(UsageError, match="needed"):
        list(read_table(pd.DataFrame({"activation": ["tanh"]})))
