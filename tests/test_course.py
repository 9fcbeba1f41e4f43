"""The exercises of the course fail unfilled, pass with the solutions, and find wrong answers."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from tests.autograd.mutation import with_changes, with_wrong_results

import pytest

COURSE = Path(__file__).parents[1] / "course"
SOLUTIONS = COURSE / "solutions"
EXERCISES = sorted(each.stem for each in SOLUTIONS.glob("ex*.py"))
GRADIENTS = {"ex1_op": 2, "ex2_cross_entropy": 1}  # that a pullback returns
USED = "from tests.autograd.mutation import _broken\n"


def parsed(folder: Path, exercise: str) -> ast.Module:
    return ast.parse((folder / f"{exercise}.py").read_text(encoding="utf-8"))


def gaps(exercise: str) -> list[str]:
    functions = [e for e in parsed(COURSE, exercise).body if isinstance(e, ast.FunctionDef)]
    return [each.name for each in functions if isinstance(each.body[-1], ast.Raise)]


def run(tests: str, answers: list[Path]) -> tuple[set[str], str]:
    """Return the names of the folders whose answers fail, and what pytest prints."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", tests]
    command += ["--answers", *map(str, answers)]
    done = subprocess.run(command, cwd=COURSE.parent, capture_output=True, encoding="utf-8")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return set(re.findall(r"^(?:FAILED|ERROR) \S+\[(\w+)\]", done.stdout, re.M)), done.stdout


def test_each_gap_is_reported_once_in_one_line_and_solutions_pass() -> None:
    found, printed = run("course", [COURSE, SOLUTIONS])
    assert found == {"course"}, printed
    expected = [f"{name} is not written yet" for each in EXERCISES for name in gaps(each)]
    assert re.findall(r"^course/ex\w+\.py:\d+: (.+)$", printed, re.M) == expected
    assert f"\n{len(expected)} failed" in printed


@pytest.mark.pages
@pytest.mark.parametrize("exercise", EXERCISES)
def test_an_exercise_finds_nine_of_ten_wrong_answers(exercise: str, tmp_path: Path) -> None:
    tree = parsed(SOLUTIONS, exercise)
    answered = [each for each in tree.body if getattr(each, "name", "") in gaps(exercise)]
    nodes = [node for each in answered for line in each.body for node in ast.walk(line)]
    answers = [("nothing", tree), *with_changes(tree, nodes)]
    answers += with_wrong_results(tree, "pullback", GRADIENTS.get(exercise, 0))
    folders = {tmp_path / str(number): change for number, (change, _) in enumerate(answers)}
    for folder, (_, changed) in zip(folders, answers, strict=True):
        folder.mkdir()
        code = USED + ast.unparse(ast.fix_missing_locations(changed))
        (folder / f"{exercise}.py").write_text(code, encoding="utf-8")
    found, _ = run(f"course/test_{exercise}.py", list(folders))
    missed = [change for folder, change in folders.items() if folder.name not in found]
    assert missed[0] == "nothing"
    report = f"{exercise}: {len(found)} of {len(answers) - 1} are found; missed: {missed[1:]}"
    print(report)
    assert len(found) >= 0.9 * (len(answers) - 1), report
