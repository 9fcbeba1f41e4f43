"""`lmladder gradcheck`: compare the gradients of ops with central differences."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import AsJson
from lmladder.system.errors import InputError, RunError

import typer


def _ops(incomplete: str) -> list[str]:
    from lmladder.autograd.selfcheck import op_names

    return [name for name in op_names() if name.startswith(incomplete)]


def gradcheck(
    ops: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ops to check. [default: all]", show_default=False, autocompletion=_ops
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random inputs.")] = 0,
    module: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Check the ops of this Python file, by its list CASES; it is executed.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the gradient of every op with central differences.

    Each case is an op on arrays of one shape. It is checked in float64 with four memory layouts,
    and in float32 against float64. The exit status is 1 if an op fails.

    Examples:
        lmladder gradcheck softmax layer_norm
        lmladder gradcheck --module examples/rungs/min_gru.py
    """
    from lmladder.autograd.cases import CASES
    from lmladder.autograd.gradcheck import TOLERANCE
    from lmladder.autograd.selfcheck import TOLERANCE_32, check_op, op_names
    from lmladder.models.own import execute
    from lmladder.system.progress import CountingProgress

    cases = CASES if module is None else getattr(execute(module), "CASES", [])
    if not cases:
        raise InputError(f"{module} has no CASES, a list of cases; see docs/own-rung.md")
    known = op_names(cases)
    if unknown := [name for name in ops or [] if name not in known]:
        raise InputError(f"no op {unknown[0]!r}; choose from {', '.join(known)}")
    bound = "allowed below"
    width = max(map(len, [*known, bound]))
    verdicts = {}
    if not as_json:
        print(f"{'op':{width}}  {'rows':>4}  {'float64':>8}  {'float32':>8}")
        print(f"{bound:{width}}  {'':4}  {TOLERANCE:8.0e}  {TOLERANCE_32:8.0e}")
    with CountingProgress("gradcheck", "ops", len(ops or known)) as progress:
        for name in ops or known:
            one = check_op(name, cases, seed=seed)
            if not as_json:
                cells = f"{one.rows:4}  {one.error:8.0e}  {one.error_32:8.0e}"
                print(f"{name:{width}}  {cells}{'' if one.passed else '  WRONG'}", flush=True)
            verdicts[name] = one
            progress.advance(1)
    if as_json:
        rows = [{"op": op, **asdict(one), "passed": one.passed} for op, one in verdicts.items()]
        print(dumps(rows, indent=2))
    if failed := {op: each for op, each in verdicts.items() if not each.passed}:
        names = (f"{op} ({each.failure})" if each.failure else op for op, each in failed.items())
        raise RunError(f"wrong gradients: {', '.join(names)}")
    if not as_json:
        print("all gradients agree with central differences")
