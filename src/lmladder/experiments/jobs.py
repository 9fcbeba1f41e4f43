"""What has become of a job of a sweep: finished.json or failed.json in its folder.

A job begins as failed and is finished when all its files are written, so one that is killed, and
can say nothing more, counts as failed. `finished.json` tells what the files depend on and their
sha256: if neither has changed, the same job need not run again. What a job depends on is what
dvc.yaml names for its stage.
"""

import ast
import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmladder.config import Config
from lmladder.system.errors import LadderError, RunError
from lmladder.system.files import sha256, write_json
from lmladder.system.settings import dotted
from lmladder.training.checkpoint import TRAINED

import yaml

FINISHED, FAILED = "finished.json", "failed.json"
PERFORMANCE, ENVIRONMENT = "performance.json", "environment.json"
NO_RESULTS = (FINISHED, FAILED, PERFORMANCE, ENVIRONMENT, TRAINED)
PACKAGE = Path(__file__).parents[1]
CODE = ("src/", "stages/")  # how dependencies on code begin
KILLED = "its process ended without a word: it was killed, or memory ran out"


@dataclass(frozen=True)
class Failure:
    """Why the job in `folder` has no result, in one line, and the exit status that this asks for.

    `begun` is when, in seconds since 1970, and `process` the id of the job's process.
    """

    folder: Path
    reason: str
    exit_status: int
    begun: float
    process: int

    def is_gone(self) -> bool:
        """Whether the process has ended, if it was one of this machine, without another reason."""
        try:
            state = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            state = "X"
        return self.reason == KILLED and state in "ZX"


def fingerprint(config: Config, stage: str, read: Iterable[Path]) -> str:
    """sha256 of all that decides what a job of a stage leaves.

    These are its settings, the code of its stage, the files that settings name, and the results in
    the folders that it reads.
    """
    settings = asdict(config)
    del settings["runtime"]["threads"]
    files = dotted(settings)  # each file whose change matters is the value of a key `watch`
    watched = {value for key, value in files.items() if key.rpartition(".")[2] == "watch"}
    origin = {
        "settings": settings,
        "watched": [
            _digest_of_code(Path(name))
            for name in sorted(filter(None, watched))
            if Path(name).is_file()
        ],
        "code": code_digest(stage),
        "read": [_digests(folder) for folder in read],
    }
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


@functools.cache
def code_digest(stage: str) -> str:
    """Return the sha256 of the code and package data that a stage depends on.

    Of Python, only what is executed counts: neither comments nor docstrings nor layout. Where there
    is no dvc.yaml, as for an installed package, the whole package counts.
    """
    root = PACKAGE.parents[1]
    named = [root / dep for dep in _dependencies(stage) if dep.startswith(CODE)]
    digests = {
        path.relative_to(root).as_posix(): _digest_of_code(path)
        for top in named or [PACKAGE]
        for path in (top, *top.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _dependencies(stage: str) -> list[str]:
    """What dvc.yaml names as dependencies of a stage; for other scripts, of all stages."""
    path = PACKAGE.parents[1] / "dvc.yaml"
    if not path.is_file():
        return []
    stages = _stages(path)
    named = [stages[stage]] if stage in stages else stages.values()
    return sorted({dep for each in named for dep in each.get("do", each)["deps"]})


@functools.cache
def _stages(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_bytes())["stages"])


def _digest_of_code(path: Path) -> str:
    """sha256 of a file; of Python, of its syntax tree without docstrings."""
    content = path.read_bytes()
    if path.suffix == ".py":
        with suppress(SyntaxError, ValueError):
            parts: list[str] = []
            _write_node(ast.parse(content), parts)
            content = " ".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()


def _write_node(node: ast.AST, parts: list[str]) -> None:
    """Append the node's type and fields, but no empty ones: these differ between Python versions.

    `ast.dump` has the empty ones, and takes twice as long.
    """
    parts.append(f"({type(node).__name__}")
    for name, value in ast.iter_fields(node):
        if value is None or value == []:
            continue
        parts.append(name)
        for each in value if isinstance(value, list) else (value,):
            if not isinstance(each, ast.AST):
                parts.append(repr(each))
            elif not _is_docstring(each):
                _write_node(each, parts)
    parts.append(")")


def _is_docstring(node: ast.AST) -> bool:
    """Whether this is a statement that consists of a text, wherever it stands."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def is_finished(folder: Path, asked: str) -> tuple[bool, float | None]:
    """Whether the folder holds the results of this fingerprint, unchanged; and their objective."""
    try:
        found = json.loads((folder / FINISHED).read_bytes())
        if found["fingerprint"] == asked and found["files"] == _digests(folder):
            return True, found["objective"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return False, None


def finish(folder: Path, asked: str, objective: float | None) -> None:
    """Note that the files in the folder are whole, and the fingerprint of what they depend on."""
    record = {"fingerprint": asked, "objective": objective, "files": _digests(folder)}
    write_json(folder / FINISHED, record)


@contextmanager
def attempt(folder: Path) -> Iterator[None]:
    """Within this context failed.json stands in the folder; it goes if the context ends well."""
    begun = time.time()

    def note(reason: str, exit_status: int = 1) -> None:
        record = {"reason": reason, "exit_status": exit_status, "begun": begun}
        record["process"] = os.getpid()
        try:
            write_json(folder / FAILED, record)
        except RunError:  # on a full disk, the space of the older record is all there is
            (folder / FAILED).unlink(missing_ok=True)
            write_json(folder / FAILED, record)

    note(KILLED)
    try:
        yield
    except LadderError as error:
        note(str(error), error.exit_status)
        raise
    except KeyboardInterrupt:
        note("it was interrupted")
        raise
    except Exception as error:  # our own mistake: the log of the job tells where
        logging.getLogger(__name__).exception("the job failed")
        note(" ".join(f"{type(error).__name__}: {error}".split()))
        raise
    (folder / FAILED).unlink(missing_ok=True)


def failures(sweep: Path) -> list[Failure]:
    """Of all jobs in the folder of a sweep, in the order of their names."""
    found = []
    for path in sorted(sweep.rglob(FAILED)):
        try:
            found.append(Failure(path.parent, **json.loads(path.read_bytes())))
        except (OSError, ValueError, TypeError):  # it has just been removed, or is damaged
            continue
    return found


def _digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    """The sha256 of each result in a folder and below; of the files of one name pattern."""
    return {
        str(name): sha256(folder / name)
        for name in sorted(path.relative_to(folder) for path in folder.rglob(pattern))
        if (folder / name).is_file()
        and not any(part.startswith(".") for part in name.parts)
        and not name.name.startswith("unfinished")
        and name.name not in NO_RESULTS
        and name.suffix != ".log"
    }
