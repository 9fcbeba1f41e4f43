"""The threads and the kernels in use are the program's: each test leaves them as they were."""

from collections.abc import Iterator

from lmladder import kernels

import pytest


@pytest.fixture(autouse=True)
def restore_threads_and_choice() -> Iterator[None]:
    threads, choice = kernels.threads(), kernels.selected()
    yield
    kernels.set_threads(threads)
    kernels.select(choice)
