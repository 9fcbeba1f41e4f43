"""Whether a commit's results come again, when its pipeline runs from nothing in a clone.

The clone has none of the results and no cache of DVC's, and DVC is told to run every stage. What
comes out is compared with the bytes in git, and with the sums in dvc.lock for what git does not
keep; the new dvc.lock is compared, too, but nothing is taken from it.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmladder.errors import InputError, RunError
from lmladder.stage import OUTPUTS
from lmladder.text import cache_directory

import yaml

LOCK = "dvc.lock"
SAME, OTHER, NOT_MADE = "identical", "differs", "not made"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TINY = sys.float_info.min  # so that 0 and -0 are not divided by 0


@dataclass(frozen=True)
class FileVerdict:
    """A committed result.

    Attributes
    ----------
    path : in the work tree
    outcome : SAME, OTHER or NOT_MADE
    numbers : of a text that differs in numbers alone, by how much at most: |a - b| / max(|a|, |b|)
    """

    path: str
    outcome: str
    numbers: float | None = None


@dataclass(frozen=True)
class Pipeline:
    """What became of a commit.

    Attributes
    ----------
    commit : its hash
    uncommitted : paths that differ from it in the work tree, and were no part of this
    files : its results, by path
    """

    commit: str
    uncommitted: tuple[str, ...]
    files: tuple[FileVerdict, ...]


def verify_pipeline(directory: Path) -> Pipeline:
    """Run the pipeline of the last commit of the work tree that `directory` lies in.

    Raises
    ------
    InputError
        If that is no work tree of git with results of DVC's.
    RunError
        If the pipeline fails.
    """
    root = Path(_git(directory, "rev-parse", "--show-toplevel"))
    commit = _git(root, "rev-parse", "HEAD")
    uncommitted = tuple(_paths(_git(root, "diff", "--name-only", "-z", "HEAD")))
    with tempfile.TemporaryDirectory(prefix="lmladder-verify-") as folder:
        clone = Path(folder) / "clone"
        _git(root, "clone", "--quiet", "--no-checkout", str(root), str(clone))
        _git(clone, "checkout", "--quiet", commit)
        sums = _committed(clone)
        texts = {path: (clone / path).read_bytes() for path in sums if (clone / path).is_file()}
        for path in sums:  # so that nothing of it can be taken for what comes out
            if path != LOCK:
                (clone / path).unlink(missing_ok=True)
        _reproduce(clone, root)
        files = tuple(_verdict(clone, path, sums[path], texts.get(path)) for path in sums)
    return Pipeline(commit, uncommitted, files)


def _committed(clone: Path) -> dict[str, set[str]]:
    """The md5 that each result has by git, or by dvc.lock, or by both; in the order of paths."""
    try:
        stages = yaml.safe_load((clone / LOCK).read_text("utf-8"))["stages"]
        outs = [(out["path"], out["md5"]) for stage in stages.values() for out in stage["outs"]]
    except FileNotFoundError:
        raise InputError(f"the last commit has no {LOCK}; run `dvc repro` and commit it") from None
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise InputError(f"the {LOCK} of the last commit is damaged") from None
    sums: dict[str, set[str]] = {path: {md5} for path, md5 in outs}
    for path in _paths(_git(clone, "ls-files", "-z", "--", str(OUTPUTS), LOCK)):
        if Path(path).name != ".gitignore":
            sums.setdefault(path, set()).add(_md5(clone / path))
    return dict(sorted(sums.items()))


def _verdict(clone: Path, path: str, sums: set[str], committed: bytes | None) -> FileVerdict:
    """On what now stands at `path`, beside its sums and, if git keeps it, its committed bytes."""
    made = clone / path
    if not made.is_file():
        return FileVerdict(path, NOT_MADE)
    if sums == {_md5(made)}:
        return FileVerdict(path, SAME)
    apart = None if committed is None else _numbers_apart(committed, made.read_bytes())
    return FileVerdict(path, OTHER, apart)


def _numbers_apart(a: bytes, b: bytes) -> float | None:
    """The largest relative difference of the numbers in two texts; None if more differs."""
    texts = a.decode(errors="replace"), b.decode(errors="replace")
    between, numbers = zip(*((NUMBER.split(t), NUMBER.findall(t)) for t in texts), strict=True)
    if between[0] != between[1]:
        return None
    pairs = (map(float, pair) for pair in zip(*numbers, strict=True) if pair[0] != pair[1])
    return max((abs(x - y) / max(abs(x), abs(y), TINY) for x, y in pairs), default=None)


def _md5(path: Path) -> str:
    """As in dvc.lock."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _reproduce(clone: Path, root: Path) -> None:
    """Run every stage in the clone; what they print goes to the standard error."""
    last = ""
    command = [sys.executable, "-m", "dvc", "repro", "--force"]
    with subprocess.Popen(
        command,
        cwd=clone,
        env=_environment(clone.parent, root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip() or last
    if process.returncode:
        raise RunError(f"the pipeline of the last commit fails: {last}")


def _environment(folder: Path, root: Path) -> Mapping[str, str]:
    """Without settings of the user's by which git or DVC would look elsewhere, as for a cache."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GIT_", "DVC_", "PYTHONPATH"))
    }
    nothing = str(folder / "settings")
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "LMLADDER_DATA": str(root / cache_directory()),  # downloads, each checked by its sha256
        "DVC_GLOBAL_CONFIG_DIR": nothing,
        "DVC_SYSTEM_CONFIG_DIR": nothing,
        "DVC_SITE_CACHE_DIR": nothing,
        "DVC_NO_ANALYTICS": "1",
    }


def _git(directory: Path, *arguments: str) -> str:
    """What git prints there; InputError with its own words if it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, env=kept, capture_output=True, encoding="utf-8"
        )
    except OSError as error:
        raise InputError(f"cannot run git: {error.strerror or error}") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason told"])[-1]
        raise InputError(f"no commit to verify in {directory}: git {arguments[0]}: {reason}")
    return done.stdout.removesuffix("\n")


def _paths(listed: str) -> list[str]:
    """Of a list that git ends each path of with NUL."""
    return [path for path in listed.split("\0") if path]
