"""The threads and the kernels in use are the program's: each test leaves them as they were."""

from tests.kernels.conftest import restore_threads_and_choice as restore_threads_and_choice
