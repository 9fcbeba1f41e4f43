"""The examples run, and what they print holds."""

import math
import re
import subprocess
import sys
from pathlib import Path

from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.data import cache_directory

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)


def printed_by(example: str) -> str:
    done = run(example)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_linreg_recovers_the_coefficients_as_the_closed_form_does() -> None:
    text = printed_by("linreg.py")
    (closed,) = re.findall(r"from the closed form: (\S+)", text)
    (truth,) = re.findall(r"from the truth: (\S+)", text)
    assert float(closed) < 1e-10
    assert float(truth) < 0.05  # the noise is 0.1, the points are 200


def test_xor_mlp_gets_every_line_of_the_table_right() -> None:
    text = printed_by("xor_mlp.py")
    expected = [(f"{a}", f"{b}", f"{a ^ b}") for a in (0, 1) for b in (0, 1)]
    assert re.findall(r"(\d) xor (\d): (\d)", text) == expected
    assert "step 500" in text
    assert text.count("100% right") > 0


def test_custom_op_is_right_and_takes_fewer_than_20_lines() -> None:
    (error,) = re.findall(r"relative error: (\S+)", printed_by("custom_op.py"))
    assert float(error) < TOLERANCE
    assert len((EXAMPLES / "custom_op.py").read_text(encoding="utf-8").splitlines()) < 20


def test_the_gradients_of_an_op_of_a_rung_agree_with_differences() -> None:
    errors = re.findall(r"relative error (\S+)", printed_by("rungs/min_gru.py"))
    assert len(errors) == 3
    assert all(float(error) < TOLERANCE for error in errors)


@pytest.mark.slow
def test_microgpt_learns_in_20_steps_and_invents_names() -> None:
    if not (cache_directory() / "names.txt").exists():
        pytest.skip(f"names.txt is not in {cache_directory()} (see LMLADDER_DATA)")
    done = run("microgpt.py", "--steps", "20", "--names", "3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report, names = done.stdout.split("3 new names at temperature 0.5:\n")
    assert "parameters: 4,192; symbols: 27\n" in report
    assert f"nats a character: {math.log(27):.4f} for a uniform guess\n" in report
    (held_out,) = re.findall(r"^held out: (\d\.\d{4})$", report, re.MULTILINE)
    assert float(held_out) < math.log(27) - 0.1
    assert re.fullmatch(r"([a-z]{0,16}\n){3}", names)
