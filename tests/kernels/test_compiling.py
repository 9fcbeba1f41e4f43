"""Compiled code is kept where it can be; where it cannot, there is still compiled code."""

import errno
import os
from typing import Any

from lmladder.kernels import compiling

import numpy as np
import pytest
from numba import float32, types
from numba.core import caching


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
    assert "as at each start" in told
