"""`lmladder verify`: whether runs, or all results of a commit, come again bit for bit."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmladder import kernels
from lmladder.checkpoint import COUNTS
from lmladder.errors import RunError
from lmladder.verification import (
    IDENTICAL,
    PARTS,
    SAME,
    Difference,
    RunVerdict,
    open_run,
    open_text,
    verify_pipeline,
    verify_run,
)

SHOWN = 12  # digits of a digest
MOST_ITEMS = 6  # of a list that is not in the other


def tell_runs(
    paths: Sequence[Path],
    prepared: Path | None,
    *,
    tolerance: float,
    threads: int | None,
    as_json: bool,
) -> None:
    """Verify runs, each on the text of its ladder or on that in `prepared`; print a verdict each.

    Raises
    ------
    InputError
        If a run or the text cannot be used; before any training.
    RunError
        If a run parts from what is recorded.
    """
    kernels.set_threads(threads)
    runs = [open_run(path) for path in paths]
    texts = [open_text(run, prepared) for run in runs]
    verdicts = []
    for run, text in zip(runs, texts, strict=True):
        verdicts.append(verify_run(run, text, tolerance=tolerance))
        if not as_json:
            print("\n".join(_lines(verdicts[-1])), flush=True)
    if as_json:
        print(json.dumps([_facts(each) for each in verdicts], indent=2))
    if parted := [str(each.path) for each in verdicts if each.outcome == PARTS]:
        raise RunError(f"not what was recorded: {', '.join(parted)}")


def tell_pipeline(*, as_json: bool) -> None:
    """Verify the last commit of the work tree, and print a line a file.

    Raises
    ------
    InputError
        If there is no commit with results.
    RunError
        If its pipeline fails, or a result does not come again.
    """
    verdict = verify_pipeline(Path.cwd())
    other = [each.path for each in verdict.files if each.outcome != SAME]
    if as_json:
        print(json.dumps(asdict(verdict), indent=2))
    else:
        for each in verdict.files:
            apart = "" if each.numbers is None else f" (only numbers, by up to {each.numbers:.1e})"
            print(f"{each.outcome:9}  {each.path}{apart}")
        if verdict.uncommitted:
            print(f"not verified, as they are not committed: {', '.join(verdict.uncommitted)}")
    whole = f"{len(verdict.files)} results of commit {verdict.commit[:SHOWN]}"
    if other:
        raise RunError(f"of {whole} {len(other)} do not come again: {', '.join(other)}")
    if not as_json:
        print(f"bit-identical: all {whole}")


def _lines(verdict: RunVerdict) -> Iterator[str]:
    """The verdict in a line, and what may explain it in more."""
    yield f"{verdict.path}: {verdict.outcome}{_reason(verdict)}"
    there, here = verdict.code
    if there != here:
        yield f"  code: {there[:SHOWN]} there, {here[:SHOWN]} here"
    if verdict.environment is None:
        yield "  environment: unknown, as there is no environment.json beside it"
    for key, (was, is_now) in (verdict.environment or {}).items():
        yield f"  {_plain(key)}: {_differing(was, is_now)}"
    if verdict.outcome == PARTS and there == here and verdict.environment == {}:
        yield "  code and environment are the same, so that no bit should differ"


def _reason(verdict: RunVerdict) -> str:
    counts = verdict.kind == COUNTS
    if verdict.outcome == IDENTICAL:
        return ", all counts" if counts else f" to step {verdict.step}, history and weights"
    largest = verdict.difference
    if verdict.outcome == PARTS:
        if counts:
            return f" from its text{_told(largest)}"
        before = verdict.same_until
        since = "" if before is None else f", the same until step {before}"
        if largest and largest.step != verdict.parts_at:
            since += f"; beyond tolerance {verdict.tolerance:g} at step {largest.step}"
        return f" at step {verdict.parts_at}{since}{_told(largest)}"
    how = "no loss differs"
    if largest is not None:
        how = f"{largest.name} differs most, by {largest.relative:.1e} at step {largest.step}"
    apart = "" if verdict.weights is None else f", weights {verdict.weights:.1e} apart at the end"
    return (
        f" {verdict.tolerance:g} to step {verdict.step}: {how}; other bits from step "
        f"{verdict.parts_at} on{apart}"
    )


def _told(difference: Difference | None) -> str:
    if difference is None:
        return ""
    again, recorded = _plain(difference.again), _plain(difference.recorded)
    return f": {_plain(difference.name)} is {again}, was {recorded}"


def _differing(was: Any, is_now: Any) -> str:
    """Two values of an environment; of lists only what the other has not."""
    if not (isinstance(was, list) and isinstance(is_now, list)):
        return f"{_plain(was)} there, {_plain(is_now)} here"
    parts = []
    for where, these, those in (("there", was, is_now), ("here", is_now, was)):
        if only := [_plain(each) for each in these if each not in those]:
            more = "" if len(only) <= MOST_ITEMS else f" and {len(only) - MOST_ITEMS} more"
            parts.append(f"only {where} {', '.join(only[:MOST_ITEMS])}{more}")
    return "; ".join(parts) or "in another order"


def _plain(value: Any) -> str:
    """As text that cannot speak to the terminal, whoever wrote the file that it comes from."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def _facts(verdict: RunVerdict) -> dict[str, Any]:
    """In the types of JSON; what is no finite number is null."""
    facts = asdict(verdict) | {"path": str(verdict.path)}
    facts["code"] = dict(zip(("there", "here"), verdict.code, strict=True))
    if verdict.environment is not None:
        facts["environment"] = {
            key: {"there": was, "here": is_now}
            for key, (was, is_now) in verdict.environment.items()
        }
    if facts["difference"]:
        facts["difference"] = {key: _finite(value) for key, value in facts["difference"].items()}
    facts["weights"] = _finite(facts["weights"])
    return facts


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
