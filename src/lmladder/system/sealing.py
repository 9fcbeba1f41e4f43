"""JSON that contains the sha256 of itself and of the content it describes, to detect any change.

The digest has the key "sha256". It is that of the JSON text without the digest, followed by the
content, if there is any.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

KEY = "sha256"


def seal(fields: Mapping[str, Any], content: Iterable[bytes] = (), **how: Any) -> str:
    """Return `fields` and their digest as JSON with sorted keys; `how` is passed to json.dumps."""
    digest = _digest(_dumps({**fields, KEY: ""}, **how), content)
    return _dumps({**fields, KEY: digest}, **how)


def unseal(text: str, content: Iterable[bytes] = ()) -> dict[str, Any]:
    """Return the fields of a text that `seal` returned for the same content.

    Raises
    ------
    ValueError
        If the text or the content has changed, or the text was never sealed.
    """
    fields = json.loads(text)
    digest = fields.pop(KEY, None) if isinstance(fields, dict) else None
    if not isinstance(digest, str):
        raise ValueError("its sha256 is missing")
    found = _digest(text.replace(digest, ""), content)
    if found != digest:
        raise ValueError(f"it has sha256 {found[:12]}, but was written with {digest[:12]!r}")
    return fields


def sha256_of(content: Iterable[bytes]) -> str:
    """Return the sha256 of the concatenation of `content`."""
    digest = hashlib.sha256()
    for each in content:
        digest.update(each)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the sha256 of a value as JSON with sorted keys."""
    return sha256_of([json.dumps(value, sort_keys=True).encode()])


def _dumps(fields: Mapping[str, Any], **how: Any) -> str:
    return json.dumps(fields, sort_keys=True, **how) + "\n"


def _digest(text: str, content: Iterable[bytes]) -> str:
    return sha256_of(chain([text.encode()], content))
