"""What all tests of training share."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: a killed process loses nothing that it has written."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
