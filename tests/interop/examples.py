"""Files of other programs with one change."""

import json


def with_value(fields, path, value):
    """Return nested JSON with another value at a path; ... removes it."""
    *keys, last = path
    copy = node = json.loads(json.dumps(fields))
    for key in keys:
        node = node[key]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return copy
