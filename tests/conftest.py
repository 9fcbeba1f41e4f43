"""Before any test imports NumPy: the suite runs with the same pinned arithmetic as the program."""

import lmladder  # noqa: F401
