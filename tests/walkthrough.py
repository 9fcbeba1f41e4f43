"""Run the commands of a Markdown page, and hold what they print against what the page says.

    python tests/walkthrough.py PAGE.md

does so in a clone of the last commit, and prints all that the commands print.

A step is a ```console block; a ```text block that follows it, with only blank lines between, is
what it prints: on a line of its own … stands for any lines, in a line for any text. The steps of a
page run in order in one shell. One that says `error: ...` must fail, all others must succeed.
A ```py block is a step too. Comments before a block, which readers do not see, change this:

    <!-- first: COMMANDS -->    a step before the block, which makes what the page assumes
    <!-- not run: REASON -->    the block is not a step
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
STEP = re.compile(
    r"^(?:<!-- (?P<mark>first|not run): (?P<note>[^\n]*) -->\n+)?"
    r"```(?P<language>console|py)\n(?P<commands>.*?)^```$(?:\n+^```text\n(?P<says>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "reader"), ("EMAIL", "reader@example.org"))
}


@dataclass(frozen=True)
class Step:
    """Commands, what the page says they print (None: nothing is said), and what became of them."""

    commands: str
    says: str | None
    printed: str
    failed: bool

    @property
    def as_documented(self) -> bool:
        should_fail = self.says is not None and "error: " in self.says
        return self.failed == should_fail and (
            self.says is None or matches(self.says, self.printed)
        )


def matches(says: str, printed: str) -> bool:
    """Whether what is printed is what the page says, with … for whatever it leaves out."""
    lines = [
        r"(?:.*\n)*?"
        if line.strip() == "…"
        else re.escape(line.rstrip()).replace("…", ".*") + r"\n"
        for line in says.splitlines()
    ]
    plain = "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())
    return re.fullmatch("".join(lines), plain) is not None


def steps(page: str) -> list[tuple[str, str | None]]:
    """Return the commands that `walk` runs, and what the page says that they print."""
    found: list[tuple[str, str | None]] = []
    for step in STEP.finditer(page):
        if step["mark"] == "first":
            found.append((step["note"], None))
        if step["mark"] != "not run":
            as_script = "{}" if step["language"] == "console" else "python - <<'END'\n{}END\n"
            found.append((as_script.format(step["commands"]), step["says"]))
    return found


def walk(page: str, folder: Path, environment: Mapping[str, str]) -> list[Step]:
    """Run the steps of a page in a folder; those after one that the shell did not survive lack."""
    found = steps(page)
    mark = "=== end of step, failed:"
    script = "".join(
        f"failed=0\n{commands}\n[ $? = 0 ] || failed=1\necho; echo '{mark}' $failed\n"
        for commands, _ in found
    )
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:  # workers keep a pipe open
        subprocess.run(
            ["bash", "-c", f"trap 'failed=1' ERR\n{script}"],
            cwd=folder,
            env={**environment, **WHO, "PYTHONUNBUFFERED": "1"},  # else stdout comes after stderr
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output.seek(0)
        ended = re.findall(rf"(.*?)\n{mark} (\d)\n", output.read(), re.DOTALL)
    return [
        Step(commands, says, printed, failed == "1")
        for (commands, says), (printed, failed) in zip(found, ended, strict=False)
    ]


def prepare_environment(clone: Path) -> None:
    """Make this Python the one that `make` and `.venv/bin/activate` find; nothing is installed."""
    binaries = clone / ".venv/bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (binaries / "python").chmod(0o755)
    (binaries / "activate").touch()
    (clone / ".venv/.ready").touch()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary, "lmladder")
        subprocess.run(["git", "clone", "--quiet", PROJECT, clone], check=True)
        prepare_environment(clone)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = {**os.environ, "PATH": path, "PYTHONPATH": "src"}
        for step in walk(Path(sys.argv[1]).read_text("utf-8"), clone, settings):
            print(f"{'' if step.as_documented else 'DIFFERENT '}$ {step.commands}{step.printed}")
