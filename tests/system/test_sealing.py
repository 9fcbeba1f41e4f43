"""A seal tells whether text or content have changed since."""

import json
from typing import Any

from lmladder.system.sealing import seal, unseal

import pytest

FIELDS: dict[str, Any] = {"step": 3, "sum": {"sha256": ""}, "tiny": 1e-300, "é": [None, "\n"]}
CONTENT = [b"weights", b"", b"\0"]


@pytest.mark.parametrize("how", [{}, {"indent": 2}, {"ensure_ascii": False}], ids=str)
def test_what_was_sealed_comes_back(how: dict[str, Any]) -> None:
    text = seal(FIELDS, CONTENT, **how)
    assert unseal(text, CONTENT) == FIELDS
    assert text == seal(dict(reversed(FIELDS.items())), CONTENT, **how)
    assert text.endswith("}\n")
    assert len(json.loads(text)["sha256"]) == 64


@pytest.mark.parametrize("content", [[], [b"weights"], [b"weights\0", b"\1"], [b"Weights\0"]])
def test_other_content_is_refused(content: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"it has sha256 .* but was written with"):
        unseal(seal(FIELDS, CONTENT), content)


def test_how_the_content_is_cut_does_not_matter() -> None:
    assert unseal(seal(FIELDS, CONTENT), [b"".join(CONTENT)]) == FIELDS


def test_every_other_character_anywhere_is_refused() -> None:
    text = seal(FIELDS)
    for place in range(len(text)):
        for other in ("0", " ", "E", '"'):
            if text[place] != other:
                with pytest.raises(ValueError, match=r"."):
                    unseal(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize("text", ["", "[]", "5", "{}", '{"sha256": 5}', '{"sha256": ""}', "{"])
def test_a_text_without_a_seal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unseal(text)
