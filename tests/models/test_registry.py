"""Kinds of models: an unknown one is rejected, in tables and figures too."""

from lmladder.models import KINDS, label
from lmladder.system.errors import InputError

import pytest


def test_an_unknown_kind_is_rejected_in_one_line_that_names_the_known_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(KINDS, "own", {})
    known = "choose from counts, mlp, rnn, gru, transformer, mixture, oracle, huggingface, arpa, "
    known += "callable"
    for kind, hint in (("lstm", known), ("no/name", known), ("grus", "did you mean 'gru'?")):
        for look_up in (KINDS.settings, KINDS.component, lambda kind: label("model", kind)):
            with pytest.raises(InputError) as caught:
                look_up(kind)
            expected = f"unknown kind of rung {kind!r}; {hint}; a kind of your own is loaded by "
            assert str(caught.value).startswith(f"{expected}--module FILE")
