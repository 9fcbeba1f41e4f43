"""The examples run, and what they print is right."""

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


def printed_by(example: str, *arguments: str) -> str:
    done = run(example, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_linreg_recovers_the_coefficients_as_the_closed_form_does() -> None:
    text = printed_by("linreg.py")
    (closed,) = re.findall(r"from the closed form: (\S+)", text)
    (truth,) = re.findall(r"from the truth: (\S+)", text)
    assert float(closed) < 1e-10
    assert float(truth) < 0.05  # the noise is 0.1, the points are 200


def test_xor_mlp_gets_every_line_of_the_table_right() -> None:
    expected = [(f"{a}", f"{b}", f"{a ^ b}") for a in (0, 1) for b in (0, 1)]
    assert re.findall(r"(\d) xor (\d): (\d)", printed_by("xor_mlp.py")) == expected


@pytest.mark.parametrize(("example", "ops"), [("custom_op.py", 1), ("rungs/min_gru.py", 3)])
def test_the_gradients_of_ops_of_ones_own_agree_with_differences(example: str, ops: int) -> None:
    errors = re.findall(r"relative error:? (\S+)", printed_by(example))
    assert len(errors) == ops
    assert all(float(error) < TOLERANCE for error in errors)


@pytest.mark.slow
def test_microgpt_learns_in_20_steps_and_invents_names() -> None:
    if not (cache_directory() / "names.txt").exists():
        pytest.skip(f"names.txt is not in {cache_directory()} (see LMLADDER_DATA)")
    printed = printed_by("microgpt.py", "--steps", "20", "--names", "3")
    report, names = printed.split("3 new names at temperature 0.5:\n")
    (held_out,) = re.findall(r"^held out: (\d\.\d{4})$", report, re.MULTILINE)
    assert float(held_out) < math.log(27) - 0.1  # of a uniform guess
    assert re.fullmatch(r"([a-z]{0,16}\n){3}", names)


def test_microgpt_reports_a_mistake_in_one_line() -> None:
    done = run("microgpt.py", "--steps", "0")
    expected = (2, "", "error: --steps and --names must be 1 or more\n")
    assert (done.returncode, done.stdout, done.stderr) == expected
