"""Activations of a size near the ends of float64: an answer or a sentence, never a crash or a wrong number."""

import pytest

from gpn import cli

pytestmark = pytest.mark.usefixtures("undrawn")

LARGE, TINY = "1e200", "1e-155"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return ended.value.code or 0, capsys.readouterr().out


@pytest.mark.parametrize("text", [f"{LARGE}*x", f"{LARGE}*sigmoid(x) + {LARGE}", f"tanh({LARGE}*x)"])
def test_check_of_large_activations(capsys, text):
    assert run(capsys, "check", text)[0] in (1, 3)


@pytest.mark.parametrize("text", [f"{LARGE}*x", f"{LARGE}*max(x, -1)"])
def test_width_of_large_and_tiny_activations(capsys, text):
    assert run(capsys, "width", text, "--depth", "5", "--epsilon", "0.5", "--raw")[0] == 0


@pytest.mark.parametrize("text", [f"{LARGE}*x", "1e150*x", pytest.param(f"{LARGE}*relu(x)", marks=pytest.mark.slow)])
def test_verify_of_large_and_tiny_activations(capsys, tmp_path, text):
    arguments = ["--width", "8", "--depth", "3", "--trials", "16", "--epsilon", "0.5", "--out", str(tmp_path)]
    assert run(capsys, "verify", text, "--raw", *arguments)[0] in (0, 3)


@pytest.mark.parametrize("text", ["x", "abs(x)", f"{TINY}*x"])
def test_a_jacobian_whose_singular_values_are_all_equal(capsys, text):
    code, output = run(capsys, "spectrum", text, "--depth", "3", "--width", "8", "--networks", "2", "--json")
    assert code == 0
    assert '"share_below": 0.0' in output


def test_a_normalization_that_no_digits_show_is_not_printed(capsys):
    """abs(x) + 1e200: b is known to 30 digits, and then nothing of chi is."""
    code, output = run(capsys, "check", f"abs(x) + {LARGE}")
    assert code == 3
    assert "undecided" in output


def test_a_supremum_beyond_float64_is_not_exact(capsys):
    """tanh(1e200 x): sup |phi''| is about 1e400."""
    assert "sup |φ''| not known" in run(capsys, "check", f"tanh({LARGE}*x)")[1]


def test_a_quadrature_that_misses_all_slopes_is_not_believed(capsys):
    """tanh(1e150 cos(3 x)): E phi'^2 by quadrature would be 0, below Var phi."""
    code, output = run(capsys, "check", "tanh(1e150*cos(3*x))", "--time-limit", "6")
    assert code == 3
    assert "not known" in output
