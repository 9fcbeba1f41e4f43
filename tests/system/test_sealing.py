"""A seal detects any change of the text or of the content."""

import json
from typing import Any

from lmladder.system.sealing import seal, unseal

import pytest

FIELDS: dict[str, Any] = {"step": 3, "sum": {"sha256": ""}, "tiny": 1e-300, "é": [None, "\n"]}
CONTENT = [b"weights", b"", b"\0"]


@pytest.mark.parametrize("how", [{}, {"indent": 2}, {"ensure_ascii": False}], ids=str)
def test_unseal_returns_what_was_sealed(how: dict[str, Any]) -> None:
    text = seal(FIELDS, CONTENT, **how)
    assert unseal(text, CONTENT) == FIELDS
    assert text == seal(dict(reversed(FIELDS.items())), CONTENT, **how)
    assert text.endswith("}\n")
    assert len(json.loads(text)["sha256"]) == 64


@pytest.mark.parametrize("content", [[], [b"weights"], [b"weights\0", b"\1"], [b"Weights\0"]])
def test_other_content_is_rejected(content: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"it has sha256 .* but was written with"):
        unseal(seal(FIELDS, CONTENT), content)


def test_any_other_character_is_rejected() -> None:
    text = seal(FIELDS)
    for position, character in enumerate(text):
        other = "0" if character != "0" else "1"
        with pytest.raises(ValueError, match=r"."):
            unseal(text[:position] + other + text[position + 1 :])
