"""The state of a job of a sweep: finished.json or failed.json in its folder.

A job begins as failed and becomes finished when all its files are written, so a job that is killed
without a message counts as failed. `finished.json` records a fingerprint of all inputs and the
sha256 of the files: a job is run again only if one of them has changed. The code that a job depends
on is that which dvc.yaml lists for its stage.
"""

import ast
import functools
import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from lmladder.config import Config
from lmladder.models import kind_named
from lmladder.system.errors import LadderError
from lmladder.system.files import sha256, write_json
from lmladder.system.sealing import sha256_of_json
from lmladder.system.settings import dotted

import yaml

FINISHED, FAILED = "finished.json", "failed.json"
# Ends of keys that name a file or a folder, whose content counts.
NAMED = ("watch", "path", "init_from", "weights_from")
PACKAGE = Path(__file__).parents[1]
CODE = ("src/", "stages/")  # prefixes of dependencies on code
KILLED = "its process ended without a message: it was stopped, or memory or disk space ran out"
T = TypeVar("T")


def fingerprint(config: Config, stage: str, read: Iterable[Path]) -> str:
    """Return the sha256 of all that determines the result of a job of a stage.

    These are its settings, the code of its stage, the files that settings name or that define its
    kinds of rungs, and the results in the folders `read`.
    """
    named = set()
    for key, value in dotted(config.relevant).items():
        last = key.rpartition(".")[2]
        if last in NAMED and value and os.path.exists(value):  # a name may be too long for Path
            named.add(Path(value))
        elif last == "kind" and (source := kind_named(value).source):
            named.add(source)
    origin = {
        "settings": config.relevant,
        "named": [digests(path) for path in sorted(named)],
        "code": code_digest(stage),
        "read": [digests(folder) for folder in read],
    }
    return sha256_of_json(origin)


@functools.cache
def code_digest(stage: str) -> str:
    """Return the sha256 of the code and package data that a stage depends on.

    These are the dependencies in dvc.yaml, of all stages if `stage` is not one of them. Without a
    dvc.yaml, as for an installed package, the whole package counts.
    """
    root = PACKAGE.parents[1]
    pipeline = root / "dvc.yaml"
    stages = yaml.safe_load(pipeline.read_bytes())["stages"] if pipeline.is_file() else {}
    chosen = [stages[stage]] if stage in stages else stages.values()
    named = {dep for each in chosen for dep in each.get("do", each)["deps"]}
    code = [root / dep for dep in sorted(named) if dep.startswith(CODE)] or [PACKAGE]
    return sha256_of_json([digests(path) for path in code])


def digests(top: Path) -> dict[str, str]:
    """Return the sha256 of a file, or of each file in a folder and below, by name.

    Hidden files, compiled Python, logs and the state of a job do not count.
    """
    found = {}
    for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
        name = path.relative_to(top)
        hidden = any(part.startswith((".", "__pycache__")) for part in name.parts)
        state = path.suffix == ".log" or path.name in (FINISHED, FAILED)
        if path.is_file() and not (hidden or state):
            found[str(name)] = sha256(path)
    return found


def module_digest(kind: str, watch: str | None = None) -> str | None:
    """Return the sha256 of the code in the file that defines a kind; None if it is built in.

    Of a kind that executes a file which the settings of a rung name, it is that of this file.
    """
    source = kind_named(kind).source
    if watch and kind_named(kind).executes:
        source = Path(watch)
    return sha256_of_json(ast.unparse(ast.parse(source.read_bytes()))) if source else None


def run_digest(stage: str, kind: str) -> str:
    """Return the sha256 of the code of a run: that of its stage, and the file of its kind."""
    return sha256_of_json([code_digest(stage), module_digest(kind)])


def is_finished(folder: Path, asked: str) -> tuple[bool, float | None]:
    """Return whether a folder has the unchanged results of a fingerprint, and their objective."""
    found = read_facts(folder / FINISHED)
    same = found.get("fingerprint") == asked and found.get("files") == digests(folder)
    return same, found.get("objective") if same else None


def finish(folder: Path, asked: str, objective: float | None) -> None:
    """Record that the files in the folder are complete, and the fingerprint of their inputs."""
    record = {"fingerprint": asked, "objective": objective, "files": digests(folder)}
    write_json(folder / FINISHED, record)


def attempt(folder: Path, job: Callable[[], T]) -> T | None:
    """Return the result of a job; None if it fails, and its folder then has failed.json.

    The file is there from the beginning, with the reason of a process that ends without a message.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    record = {"reason": KILLED, "exit_status": 1, "begun": time.time()}
    write_json(folder / FAILED, record)
    try:
        result = job()
    except Exception as error:
        record["reason"] = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, LadderError):
            record |= {"reason": str(error), "exit_status": error.exit_status}
        else:  # a bug: the traceback is in the log of the job
            logging.getLogger(__name__).exception("the job failed")
        write_json(folder / FAILED, record)
        return None
    (folder / FAILED).unlink(missing_ok=True)
    return result


def failures(sweep: Path) -> dict[Path, dict[str, Any]]:
    """Return the failed.json of each job in the folder of a sweep, by the folder of the job."""
    return {path.parent: read_facts(path) for path in sorted(sweep.rglob(FAILED))}


def read_facts(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file beside a run; empty if the file is missing or damaged."""
    with suppress(OSError, ValueError):
        return dict(json.loads(path.read_bytes()))
    return {}
