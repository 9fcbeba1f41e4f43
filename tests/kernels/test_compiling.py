"""Compiled code is kept where it can be; where it cannot, there is still compiled code."""

import errno
import os
from pathlib import Path
from typing import Any

from lmladder.kernels import compiling

import numpy as np
import pytest
from numba import float32, types
from numba.core import caching, config


def double(x: Any) -> None:
    for i in range(len(x)):
        x[i] *= 2


def no_folder(*_: object) -> None:
    raise RuntimeError("cannot cache function: no locator available")


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("method", "failure"), [("__init__", no_folder), ("save_overload", full_disk)]
)
def test_a_cache_that_cannot_be_written_is_done_without_and_told_of_once(
    method: str,
    failure: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(caching.FunctionCache, method, failure)
    monkeypatch.setattr(compiling, "_announced", False)
    for _ in range(2):
        kernel = compiling.compile_kept(types.void(float32[:]), double, nogil=True)
        x = np.arange(3, dtype=np.float32)
        kernel(x)
        assert x.tolist() == [0, 2, 4]
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "at each start" in told


def test_what_is_compiled_of_older_sources_does_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "SOURCES", tmp_path)
    folders: list[Path] = []
    for state in range(compiling.MAX_FOLDERS + 2):
        (tmp_path / "kernel.py").write_text(f"STATE = {state}")
        compiling._folder.cache_clear()
        kernel = compiling.compile_kept(types.void(float32[:]), double, nogil=True)
        folder = Path(kernel.stats.cache_path)
        assert folder not in folders
        folders.append(folder)
        os.utime(folder, (state, state))
    kept = set((tmp_path / "cache").rglob("lmladder-*"))
    assert folders[-1] in kept
    assert len(kept) == compiling.MAX_FOLDERS
    compiling._folder.cache_clear()
