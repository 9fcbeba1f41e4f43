"""The peers train the same model as lmladder, and its operations are counted correctly."""

from functools import cache
from typing import Any

from benchmarks import measure
from benchmarks.engines import ours
from benchmarks.shapes import SIZES, Size, product_flops

import pytest

SHAPES = {
    "micro": ("--config", "micro"),
    "short rows": ("--config", "seed0", "--set", "context=24", "batch=3"),
}
TOLERANCE = 1e-5  # relative; float32 sums in another order differ by less than a tenth of it


@cache
def losses(engine: str, shape: str) -> list[float]:
    """Return the losses before the first step, and after one, two and three."""
    options = (*SHAPES[shape], "--engine", engine, "--steps", 1)
    try:
        (facts,) = measure.in_fresh_process("train_step.py", *options)
    except measure.UnavailableError as error:
        pytest.skip(str(error))
    return facts["losses"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "engine", ["torch", "jax", pytest.param("compile", marks=pytest.mark.slow)]
)
def test_a_peer_has_our_losses_before_and_after_three_steps(engine: str, shape: str) -> None:
    theirs = losses(engine, shape)
    assert theirs == pytest.approx(losses("lmladder", shape), rel=TOLERANCE)
    assert abs(theirs[-1] - theirs[0]) > 100 * TOLERANCE * theirs[0]


@pytest.mark.parametrize("option", ["--cache", "--no-cache"])
def test_pytorch_generates_the_same_text(option: str) -> None:
    options = ["--config", "micro", "--temperature", 0, "--tokens", 40, "--seconds", 0]
    try:
        (peers,) = measure.in_fresh_process("generate.py", *options, "--engine", "torch", option)
    except measure.UnavailableError as error:
        pytest.skip(str(error))
    (mine,) = measure.in_fresh_process("generate.py", *options)
    assert len(set(mine["text"])) > 1
    assert peers["text"] == mine["text"]


@pytest.mark.parametrize("size", [SIZES["micro"], Size(30, 12, 3, 2, 20, 2)], ids=str)
def test_the_count_of_matrix_products_is_that_of_pytorch(size: Size) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch counts the operations")
    from benchmarks.engines import pytorch

    from torch.utils.flop_counter import FlopCounterMode

    weights = {name: each.value for name, each in ours.new_model(size).parameters().items()}
    model = pytorch.Transformer(size, weights, attention=pytorch.explicit_attention)
    with FlopCounterMode(display=False) as counter:
        model.loss(torch.from_numpy(size.batches()[0])).backward()
    assert counter.get_total_flops() == product_flops(size, causal=False)


def test_causal_attention_computes_little_more_than_half_of_all_pairs() -> None:
    size = SIZES["tinylm"]
    without = product_flops(size, causal=False) - product_flops(size)
    pairs = 3 * 2 * size.batch * size.layers * size.context**2 * 2 * size.width
    assert without / pairs == pytest.approx((size.context - 1) / (2 * size.context))
