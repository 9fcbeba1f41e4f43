"""A run that was killed or interrupted resumes and ends with the same bytes; others start again."""

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lmladder.system.files import work_folder
from lmladder.system.interrupts import exit_status
from lmladder.system.progress import TrainingProgress
from lmladder.training.checkpoint import BEST, LATEST, TRAINED, Checkpoint
from lmladder.training.loop import HISTORY, UNFINISHED, UNFINISHED_BEST, discard_unfinished, train
from tests.training.examples import (
    ADAMW,
    FEATURES,
    STEPS,
    every_feature,
    every_rung,
    final_files,
    finish,
    make_run,
)

import pytest


class Killed(BaseException):
    """Not an Exception: nothing may catch it."""


def kill_at(
    patch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool = False
) -> None:
    """Raise Killed at (or right after) the given call of owner.name, counted from 0."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(10**6))

    def deadly(*arguments: Any, **named: Any) -> Any:
        now = next(calls) == call
        if now and not after:
            raise Killed
        result = original(*arguments, **named)
        if now:
            raise Killed
        return result

    patch.setattr(owner, name, deadly)


def signal_at(patch: pytest.MonkeyPatch, after: int, *numbers: int) -> None:
    """Send signals to this process when `after` steps have been taken."""

    def step(_: TrainingProgress, done: int, train_loss: float) -> None:
        if done == after:
            for number in numbers:
                os.kill(os.getpid(), number)

    patch.setattr(TrainingProgress, "step", step)


# --- The same bytes -------------------------------------------------------------------------------


@every_feature
@every_rung
def test_a_signal_ends_a_run_after_its_step_and_the_run_resumes_to_the_same_bytes(
    kind: str, feature: str, tmp_path: Path
) -> None:
    changed = FEATURES[feature]
    expected = finish(tmp_path / "whole", kind, **changed)
    steps = Checkpoint.load(tmp_path / "whole" / LATEST).step
    assert steps == (4 if feature == "patience" else STEPS)
    for after in range(1, steps + 1) if feature == "default" else (1, steps):
        folder, number = tmp_path / str(after), (signal.SIGINT, signal.SIGTERM)[after % 2]
        with pytest.MonkeyPatch.context() as patch:
            signal_at(patch, after, number)
            with pytest.raises(KeyboardInterrupt) as interrupt:
                train(make_run(folder, kind, **changed))
        assert exit_status(interrupt.value) == 128 + number
        assert Checkpoint.load(work_folder(folder) / UNFINISHED).step == after
        assert finish(folder, kind, **changed) == expected


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The final files of the default run."""
    return finish(tmp_path_factory.mktemp("whole"))


# Each file is written by one os.replace: two checkpoints an evaluation, and four files at the end.
WRITES = [(call, after) for call in range(STEPS + 4) for after in (False, True)]


@pytest.mark.parametrize(("call", "after"), WRITES)
def test_a_run_that_is_killed_while_it_writes_ends_with_the_same_bytes(
    call: int, after: bool, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, os, "replace", call, after=after)
        with pytest.raises(Killed):
            train(make_run(tmp_path / "run"))
    assert finish(tmp_path / "run") == expected


def test_a_second_signal_does_not_wait_for_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal_at(monkeypatch, 1, signal.SIGINT, signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        train(make_run(tmp_path / "run"))
    assert exit_status(interrupt.value) == 128 + signal.SIGTERM
    assert not (work_folder(tmp_path / "run") / UNFINISHED).exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_two_runs_in_threads_leave_signals_alone_and_give_the_bytes_of_one(
    expected: dict[str, bytes], tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(finish, folders)) == [expected, expected]


# --- Which run it is ------------------------------------------------------------------------------


def test_a_finished_run_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    expected = finish(folder)
    discard_unfinished(folder)
    assert {each.name for each in folder.iterdir()} == {LATEST, BEST, HISTORY}

    def no_step(*_: Any) -> None:
        raise AssertionError("a step was taken")

    monkeypatch.setattr(TrainingProgress, "step", no_step)
    assert train(make_run(folder)).step == STEPS
    assert final_files(folder) == expected


OTHERS: dict[str, dict[str, Any]] = {
    "of other settings": {"seed": 1},
    "of other data": {"data": "other"},
    "of other settings, in the optimizer": {
        "optimizer": ADAMW.model_copy(update={"epsilon": 1e-7})
    },
    "of other code": {"trained_by": {"code": "other"}},
    "of kernels numba, not numpy": {"trained_by": {"kernels": "numpy"}},
    "of numpy 2.2.6, not 2.3.0": {"trained_by": {"numpy": "2.3.0"}},
}


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_run_is_not_resumed_and_the_run_prints_why(
    other: str, unfinished: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_run(tmp_path / "run"))
    if unfinished:
        for name in (LATEST, BEST, HISTORY):
            (tmp_path / "run" / name).unlink()
    else:
        discard_unfinished(tmp_path / "run")
    capsys.readouterr()
    found = finish(tmp_path / "run", **OTHERS[other])
    output = capsys.readouterr().out
    name = UNFINISHED if unfinished else LATEST
    assert f"{name} is {other.partition(', in')[0]}; starting again" in output
    assert "from step" not in output
    assert found == finish(tmp_path / "fresh", **OTHERS[other])


def test_the_code_and_versions_of_a_run_change_no_byte_of_its_results(tmp_path: Path) -> None:
    other = {"code": "other", "numpy": "2.3.0"}
    assert finish(tmp_path / "a") == finish(tmp_path / "b", trained_by=other)
    records = [
        json.loads((work_folder(tmp_path / name) / TRAINED).read_text()) for name in ("a", "b")
    ]
    assert [each["identity"]["code"] for each in records] == ["code", "other"]
    assert records[0]["files"] == records[1]["files"]


@pytest.mark.parametrize("name", [LATEST, BEST, UNFINISHED, UNFINISHED_BEST])
def test_a_damaged_checkpoint_is_not_resumed(
    name: str, expected: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    finish(folder)
    final = name in (LATEST, BEST)
    (work_folder(folder) / UNFINISHED if final else folder / LATEST).unlink()
    damaged = (folder if final else work_folder(folder)) / name
    *whole, last = damaged.read_bytes()
    damaged.write_bytes(bytes([*whole, last ^ 1]))
    capsys.readouterr()
    assert finish(folder) == expected
    first_line = capsys.readouterr().out.splitlines()[0]
    assert "step 2/6" in first_line if final else f"{name} cannot be read" in first_line


@pytest.mark.parametrize("finished", [True, False])
def test_unfinished_files_of_another_run_are_not_used(
    finished: bool, expected: dict[str, bytes], tmp_path: Path
) -> None:
    finish(tmp_path / "run")
    train(make_run(tmp_path / "other", seed=1))
    if not finished:
        for name in (LATEST, BEST, HISTORY):
            (tmp_path / "run" / name).unlink()
    for name in (UNFINISHED, UNFINISHED_BEST) if finished else (UNFINISHED_BEST,):
        os.replace(work_folder(tmp_path / "other") / name, work_folder(tmp_path / "run") / name)
    assert finish(tmp_path / "run") == expected
