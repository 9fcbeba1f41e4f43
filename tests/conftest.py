"""What holds for all tests. lmladder is imported before NumPy, so that its arithmetic is pinned."""

import os
from collections.abc import Iterator

from lmladder import kernels

import pytest


@pytest.fixture(autouse=True)
def _restore_threads_and_kernels() -> Iterator[None]:
    threads, selected = kernels.threads(), kernels.selected()
    yield
    kernels.set_threads(threads)
    kernels.select(selected)


@pytest.fixture(autouse=True, scope="session")
def _no_fsync() -> Iterator[None]:
    """Do not flush files to the disk, which would take most of the time of many tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
