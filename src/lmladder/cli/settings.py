"""`lmladder settings`: the reference of all settings."""

import json
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Annotated

from lmladder.cli.arguments import AsJson
from lmladder.system.errors import InputError

import typer

WIDTH = 80  # columns

KEY = typer.Argument(
    metavar="KEY",
    help="A setting, a group, or the last part of a key. [default: all]",
    show_default=False,
)


def settings(key: Annotated[str | None, KEY] = None, as_json: AsJson = False) -> None:
    """Print each setting: default, type, range, choices and meaning.

    The defaults are those of conf/ in this folder.

    Examples:
        lmladder settings n_layer
        lmladder settings transformer.optimizer
        lmladder settings --json
    """
    from lmladder.config import schema
    from lmladder.config.composing import composed
    from lmladder.system.settings import described, did_you_mean

    from omegaconf import OmegaConf

    conf = Path("conf")
    if not (conf / "config.yaml").exists():
        raise InputError("there is no conf/config.yaml in this folder; change to that of a project")
    values = OmegaConf.to_container(composed(conf), resolve=False)
    # All choices of a component, with the values of the chosen one; then further rungs.
    every = {each.key: each for each in described(schema())}
    every |= {each.key: each for each in described(schema(), values)}
    if key is not None:
        found = [each for each in every if f"{each}.".startswith(f"{key}.")]
        found = found or [each for each in every if each.endswith(f".{key}")]
        if not found:
            names = {*every, *(each.rpartition(".")[2] for each in every)}
            raise InputError(f"unknown setting {key!r}; {did_you_mean(key, sorted(names))}")
        every = {each: every[each] for each in found}
    if as_json:
        print(json.dumps([asdict(each) for each in every.values()], indent=2))
        return
    for each in every.values():
        for line in f"{each}".splitlines():
            print(fill(line, WIDTH, subsequent_indent=" " * 6, break_on_hyphens=False))
