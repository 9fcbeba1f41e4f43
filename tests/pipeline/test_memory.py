"""The estimates of memory, beside what models and training take."""

import math
import tracemalloc

from lmladder.config import typed
from lmladder.pipeline.memory import needs_of_training, require_memory
from lmladder.pipeline.rungs import rung_named
from lmladder.system import runtime
from lmladder.system.errors import InputError
from tests.pipeline.conftest import COMPOSE

import pytest
from omegaconf import OmegaConf

VOCABULARY = 60
MANY = 100_000_000
ABSURD = {  # the setting that the message names, and the overrides that ask for too much
    "transformer.n_layer": f"transformer.n_layer={MANY}",
    "transformer.feed_forward_factor": "transformer.feed_forward_factor=1e300",
    "transformer.context_length": (
        f"transformer=gpt2 transformer.context_length={MANY}00"
        " transformer.training.sequence_length=256"
    ),
    "transformer.training.sequence_length": (
        "transformer.context_length=10000000 transformer.positions=rotary"
    ),
    "mlp.hidden_sizes": "mlp.hidden_sizes=[1000000,1000000]",
    "evaluate.batch_tokens": f"evaluate.batch_tokens={MANY}000",
    "sample.beams": f"sample.beams={MANY}000",
    "data.characters": f"data.characters={MANY}0000",
}


@pytest.mark.parametrize(
    ("rung", "overrides"),
    [
        ("mlp", "mlp.hidden_sizes=[512,512]"),
        ("transformer", "transformer.d_model=32 transformer.training.batch_size=512"),
    ],
)
def test_training_takes_no_less_than_the_estimate_and_not_much_more(checkout, rung, overrides):
    checkout.stage(rung).succeeded()  # loads the kernels
    short = f"{rung}.training.steps=2 {rung}.training.evaluate_every=2"
    checkout.compose(*overrides.split(), *short.split(), f"{rung}.schedule.warmup_steps=0")
    config = typed(OmegaConf.load(checkout / "params.yaml"))
    tracemalloc.start()
    checkout.stage(rung).succeeded()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    needs = needs_of_training(rung_named(rung, config), VOCABULARY - 1)
    assert peak / 4 < max(need.bytes for need in needs) < peak


@pytest.mark.parametrize("setting", ABSURD)
def test_a_setting_that_no_machine_has_the_memory_for_is_named(setting):
    config = typed(OmegaConf.create(COMPOSE.composition(ABSURD[setting].split())))
    with pytest.raises(InputError, match=r"GB of memory, .* smaller") as caught:
        require_memory(config, vocabulary_size=VOCABULARY, val_tokens=10**12)
    assert f"{setting}=" in str(caught.value)
    if "n_layer" in setting:  # what is trained already needs no memory for it
        require_memory(config, vocabulary_size=VOCABULARY, trains=False)


def test_the_limit_is_the_least_of_those_around_a_process(tmp_path):
    files = {
        "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/\n0::/box/job\n",
        "sys/fs/cgroup/memory.max": "max\n",
        "sys/fs/cgroup/box/memory.max": "5000\n",
        "sys/fs/cgroup/box/job/memory.max": "3000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sorted(runtime._cgroup_limits(tmp_path)) == [3000, 5000]
    assert list(runtime._cgroup_limits(tmp_path / "elsewhere")) == []
    assert 0 < runtime.memory_limit() < math.inf
