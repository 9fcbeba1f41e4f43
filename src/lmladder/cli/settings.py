"""`lmladder settings`: the reference of all settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Literal

from lmladder.cli.arguments import AsJson, require_one_format
from lmladder.system.errors import InputError

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lmladder.system.settings import Described

WIDTH = 80  # columns


def settings(
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY",
            help="A setting, a group, or the last part of a key. [default: all]",
            show_default=False,
        ),
    ] = None,
    format_name: Annotated[
        Literal["text", "markdown"], typer.Option("--format", help="How to print them.")
    ] = "text",
    as_json: AsJson = False,
) -> None:
    """Print each setting: default, type, range, choices and meaning.

    The defaults are those of conf/ in this folder.

    Examples:
        lmladder settings n_layer
        lmladder settings transformer.optimizer
        lmladder settings --format markdown
    """
    from lmladder.config import composed, schema
    from lmladder.system.settings import described

    from omegaconf import OmegaConf

    require_one_format(as_json, format_name)
    conf = Path("conf")
    if not (conf / "config.yaml").exists():
        raise InputError("there is no conf/config.yaml in this folder; change to that of a project")
    values = OmegaConf.to_container(composed(conf), resolve=False)
    listed = {each.key: each for each in (*described(schema()), *described(schema(), values))}
    every = list(listed.values())  # with the values in conf/ for the components that are chosen
    chosen = every if key is None else _matching(key, every)
    if as_json:
        print(json.dumps([asdict(each) for each in chosen], indent=2))
    elif format_name == "markdown":
        print("\n".join(_markdown(chosen)))
    else:
        for each in chosen:
            for line in f"{each}".splitlines():
                print(fill(line, WIDTH, subsequent_indent=" " * 6, break_on_hyphens=False))


def _matching(key: str, every: list[Described]) -> list[Described]:
    """Return the setting or group of a key, or all settings whose keys end with it."""
    from lmladder.system.settings import did_you_mean

    found = [each for each in every if f"{each.key}.".startswith(f"{key}.")]
    found = found or [each for each in every if each.key.endswith(f".{key}")]
    if not found:
        known = {name for each in every for name in (each.key, each.key.rpartition(".")[2])}
        similar = did_you_mean(key, sorted(known))
        hint = similar if similar.endswith("?") else "`lmladder settings` prints all"
        raise InputError(f"unknown setting {key!r}; {hint}")
    return found


def _markdown(chosen: Iterable[Described]) -> Iterator[str]:
    from lmladder.system.settings import as_override

    yield (
        "# Settings\n\nThis page is the output of `lmladder settings --format markdown`; "
        "[using.md](using.md) shows how settings\nare changed. A setting with a choice, such as "
        "`file`, exists with that choice only."
    )
    for part, group in groupby(chosen, lambda each: each.key.partition(".")[0]):
        yield f"\n## {part}\n\n| setting | default | allowed | meaning |\n| --- | --- | --- | --- |"
        for each in group:
            if not each.allowed:
                yield f"| `{each.key}` | | | **{each.help}** |"
                continue
            choice = f" (`{each.choice}`)" if each.choice else ""
            facts = f"`{as_override(each.value)}` | {each.allowed} | {each.help}"
            yield f"| `{each.key}`{choice} | {facts} |"
