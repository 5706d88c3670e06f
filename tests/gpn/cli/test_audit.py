"""The commands beyond one activation: verbose checks, audits, families; and near misses."""

import json

import pytest

from gpn.cli import program as cli


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def test_a_near_miss_tells_its_cost_over_depth(capsys):
    code, out, _ = run(capsys, "check", "1.4915*gelu(x)-0.9097", "--json")
    assert code == 1
    thousand = json.loads(out)["depth_factors"][-1]
    assert thousand["depth"] == 1000
    assert thousand["squared_gradient"] == pytest.approx(25.2**5, rel=0.1)  # 25.2-fold over 200 layers
    code, out, _ = run(capsys, "check", "1.4915*gelu(x)-0.9097")
    assert "Nearly GPN: E phi^2 - 1 = 0.0080, E phi'^2 - 1 = 0.014." in out
    assert "Nearly GPN" not in run(capsys, "check", "tanh")[1]


def test_verbose_adds_closed_forms_and_the_spectrum(capsys):
    _, out, _ = run(capsys, "check", "relu", "--verbose")
    assert "1 - 2/pi" in out
    assert "Hermite spectrum" in out
    assert "depth coefficient" in out
    facts = json.loads(run(capsys, "check", "relu", "--verbose", "--json")[1])["details"]
    assert facts["coefficients"]["plus"]["sb"] == "3.00000000000"
    assert facts["correlation_curvature"] is None  # infinite: a kink
    assert facts["hermite"]["coefficients"][1] == pytest.approx(0.5, abs=1e-13)


def test_rounding_noise_of_the_spectrum_is_a_limit(capsys):
    """The even coefficients of sin are 0, and so is all above degree 60: neither is shown as a negative number."""
    _, out, _ = run(capsys, "check", "sin", "--verbose")
    assert "hold less than" in out
    assert "-0.0000000000" not in out


@pytest.mark.parametrize(
    "formula", ["sin(1/x)", *(pytest.param(text, marks=pytest.mark.slow) for text in ("exp(-abs(1/x))", "x*sin(1/x)"))]
)
def test_an_essential_singularity_has_a_documented_outcome(capsys, formula):
    code, out, err = run(capsys, "check", formula)
    assert code in (1, 3, 4)
    assert formula in out
    assert err == ""


def test_verbose_is_harmless_where_nothing_can_be_normalized(capsys):
    assert run(capsys, "check", "sign", "--verbose")[0] == 4


def test_audit_finds_the_owner_of_the_papers_gelu_row(capsys):
    code, out, _ = run(capsys, "audit")
    assert code == 0
    assert "quick_gelu" in out


def test_audit_of_a_table_of_ones_own(capsys, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("activation,a,b\ntanh,1.4674,0.3885\n")
    code, out, _ = run(capsys, "audit", str(table), "--digits", "12")
    assert code == 0
    assert "1.46741359163" in out
    table.write_text("name,value\n")
    code, _, err = run(capsys, "audit", str(table))
    assert code == 2
    assert err.count("\n") == 1


def test_family_scan_and_solve(capsys):
    _, out, _ = run(capsys, "family", "elu(alpha)", "--values", "0.5,1")
    assert "1.223429" in out
    found = json.loads(run(capsys, "family", "leaky_relu(s)", "--condition", "chi_minus = 0.5", "--json")[1])
    assert found["status"] == "found"
    assert "crossing" in run(capsys, "family", "leaky_relu(s)", "--condition", "chi_minus = 0.5")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("family", "elu(alpha)"),
        ("family", "elu(alpha)", "--values", "1", "--condition", "b = 0"),
        ("family", "elu(alpha)", "--condition", "b = 0", "--between", "1"),
        ("family", "elu(alpha)", "--condition", "nonsense = 1"),
        ("family", "tanh", "--values", "1"),
        ("audit", "no-such-file.csv"),
        ("audit", "--digits", "0"),
    ],
)
def test_misuse_is_one_sentence_and_exit_code_2(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("gpn: ")
    assert err.count("\n") == 1
