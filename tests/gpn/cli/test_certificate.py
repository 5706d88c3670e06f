"""`gpn width --certify` and `gpn verify-certificate`: a proof is found, written, and checked from disk."""

import json

import pytest

from gpn.cli import program as cli
from gpn.verification.width import with_certificate
from gpn.verification.width_results import WidthReport
from theory.activations.specification import activation
from theory.bounds import deep
from theory.bounds.verifier import DeepBound
from theory.errors import UsageError

ASK = ["width", "tanh", "--depth", "3", "--epsilon", "1", "--probability", "0.2"]


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


def test_a_width_that_is_proved_has_a_row_and_a_file(capsys, monkeypatch, tmp_path):
    found = DeepBound("deep", -3.0, rigor="certified", document={"statement": {"epsilon": 1.0}})
    monkeypatch.setattr(deep, "required_width_deep", lambda *_, **__: deep.DeepWidth(200, found))
    code, out, _ = run(capsys, *ASK, "--certify", "--out", str(tmp_path))
    assert code == 0
    assert "deep bound, certified" in out
    assert "proved by ball arithmetic" in " ".join(out.split())
    assert "Next: gpn verify-certificate" in out
    assert json.loads((tmp_path / "certificate.json").read_text()) == found.document
    nothing = DeepBound("deep", 0.0, "not certified: no")
    monkeypatch.setattr(deep, "required_width_deep", lambda *_, **__: deep.DeepWidth(None, nothing, nothing.reason))
    code, out, _ = run(capsys, *ASK, "--certify")
    assert code == 0
    assert "not certified: no" in " ".join(out.split())
    assert "verify-certificate" not in out


@pytest.mark.parametrize(
    "words",
    [
        ["width", "tanh", "--depth", "3", "--width", "64", "--certify"],
        [*ASK, "--certify", "--weights", "gaussian"],
        ["verify-certificate", "nowhere.json"],
    ],
)
def test_what_cannot_be_certified_is_one_sentence(words, capsys):
    code, out, err = run(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_report_on_other_weights_gets_no_certificate_of_haar_weights():
    known = WidthReport("width", "tanh", None, 3, 1.0, 0.2, (), weights="gaussian")
    with pytest.raises(UsageError, match="only the bound for Haar weights"):
        with_certificate(known, activation("tanh"))


@pytest.mark.slow
def test_a_proof_is_found_and_checked_from_disk(capsys, tmp_path):
    assert run(capsys, *ASK, "--certify", "--out", str(tmp_path))[0] == 0
    code, out, _ = run(capsys, "verify-certificate", str(tmp_path / "certificate.json"))
    assert code == 0
    assert out.startswith("proved: P(max_l")
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    certificate["statement"]["width"] -= certificate["statement"]["width"] // 20
    (tmp_path / "narrow.json").write_text(json.dumps(certificate))
    code, out, _ = run(capsys, "verify-certificate", str(tmp_path / "narrow.json"))
    assert code == 1
    assert out.startswith("not proved: ")
