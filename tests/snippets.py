"""Run the Python in a Markdown page, and hold what it prints against what the page says.

    python -m tests.snippets PAGE.md ...

writes into each page what its snippets print. A snippet is a ```python block; a ```text or
```mermaid block that follows it, with only blank lines between, is what it prints. The snippets of
a page run in order and share their names.
"""

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import lmladder  # noqa: F401  (before NumPy, which the snippets of a page may import first)

SNIPPET = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n+^```(?P<kind>text|mermaid)\n(?P<printed>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


def updated(page: str) -> str:
    """The page with what its snippets print now."""
    names: dict[str, Any] = {"__name__": "__main__"}

    def fresh(snippet: re.Match[str]) -> str:
        line = page.count("\n", 0, snippet.start("code"))
        code = compile("\n" * line + snippet["code"], "page", "exec")  # errors name the page's line
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, names)
        block = f"```python\n{snippet['code']}```"
        if not out.getvalue():
            return block
        return f"{block}\n\n```{snippet['kind'] or 'text'}\n{out.getvalue().rstrip()}\n```"

    return SNIPPET.sub(fresh, page)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
