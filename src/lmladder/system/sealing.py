"""JSON that carries the sha256 of itself and of what belongs to it, so that any change shows.

The sum stands under the key "sha256". It is that of the JSON text with the sum itself left out,
followed by the content that the text describes, if there is any.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

KEY = "sha256"


def seal(fields: Mapping[str, Any], content: Iterable[bytes] = (), **how: Any) -> str:
    """`fields` and their sum as JSON with sorted keys and a newline; `how` goes to json.dumps."""
    digest = _sum(_dumps({**fields, KEY: ""}, **how), content)
    return _dumps({**fields, KEY: digest}, **how)


def unseal(text: str, content: Iterable[bytes] = ()) -> dict[str, Any]:
    """The fields of a text that `seal` made for the same content.

    Raises
    ------
    ValueError
        If text or content have changed since, or the text was never sealed.
    """
    fields = json.loads(text)
    digest = fields.pop(KEY, None) if isinstance(fields, dict) else None
    if not isinstance(digest, str):
        raise ValueError("it holds no sha256 of itself")
    found = _sum(text.replace(digest, ""), content)
    if found != digest:
        raise ValueError(f"it has sha256 {found[:12]}, but was written with {digest[:12]!r}")
    return fields


def sha256_of(content: Iterable[bytes]) -> str:
    """The sum of all of `content`, however it is cut."""
    digest = hashlib.sha256()
    for each in content:
        digest.update(each)
    return digest.hexdigest()


def _dumps(fields: Mapping[str, Any], **how: Any) -> str:
    return json.dumps(fields, sort_keys=True, **how) + "\n"


def _sum(text: str, content: Iterable[bytes]) -> str:
    return sha256_of(chain([text.encode()], content))
