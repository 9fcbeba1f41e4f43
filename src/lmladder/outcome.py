"""What has become of a job of a sweep: finished.json or failed.json in its folder.

A job begins as failed and is finished when all its files are written, so one that is killed, and
can say nothing more, counts as failed. `finished.json` tells what the files depend on and their
sha256: if neither has changed, the same job need not run again.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lmladder.atomic import write_json
from lmladder.config import Config
from lmladder.errors import LadderError

FINISHED, FAILED = "finished.json", "failed.json"
PERFORMANCE, ENVIRONMENT = "performance.json", "environment.json"
NO_RESULTS = (FINISHED, FAILED, PERFORMANCE, ENVIRONMENT)
SOURCES = Path(__file__).parent
KILLED = "its process ended without a word: it was killed, or memory ran out"


@dataclass(frozen=True)
class Failure:
    """Why the job in `folder` has no result, in one line, and the exit status that this asks for.

    `begun` is when, in seconds since 1970.
    """

    folder: Path
    reason: str
    exit_status: int
    begun: float


def fingerprint(config: Config, scripts: Path, read: Iterable[Path]) -> str:
    """sha256 of all that decides what a job leaves.

    These are its settings, the files that they name, all source (also that in the folder
    `scripts`), and the results in the folders that the job reads.
    """
    settings = asdict(config)
    del settings["runtime"]["threads"]
    watched = (config.data.watch, config.tokenizer.watch, config.transformer.watch)
    origin = {
        "settings": settings,
        "watched": [_sha256(Path(name)) for name in watched if name and Path(name).is_file()],
        "source": [_digests(folder, "*.py") for folder in (SOURCES, scripts)],
        "read": [_digests(folder) for folder in read],
    }
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


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
        str(name): _sha256(folder / name)
        for name in sorted(path.relative_to(folder) for path in folder.rglob(pattern))
        if (folder / name).is_file()
        and not any(part.startswith(".") for part in name.parts)
        and not name.name.startswith("unfinished")
        and name.name not in NO_RESULTS
        and name.suffix != ".log"
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
