"""Settings are checked as they are declared, and a message names the wrong one."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from lmladder.system.errors import InputError
from lmladder.system.settings import Component, Family, read, setting

import pytest


@dataclass
class Small:
    """Settings of one component."""

    name: str = setting("which one")
    rate: float = setting("of a step", above=0)


@dataclass
class Part:
    """A group."""

    size: int = setting("how large", at_least=1)

    def check(self, path: str) -> None:
        if self.size % 2:
            raise InputError(f"{path}size={self.size} must be even")


FAMILY = Family("thing", "lmladder.optim", {"small": Component("tests.system.test_settings:Small")})


@dataclass
class Whole:
    """Everything."""

    count: int = setting("how many", at_least=0, below=10)
    fraction: float | None = setting("a part", at_most=1)
    sizes: list[int] = setting("of layers", at_least=1)
    pair: tuple[float, float] = setting("two numbers", length=2)
    color: str = setting("one of two", choices=("red", "blue"))
    part: Part = setting("a group", settings=Part)
    thing: Any = setting("chosen by name", family=FAMILY)
    things: dict[str, Any] = setting("several, by name", default={}, family=FAMILY)
    note: str = setting("not in conf/", default="none")


GIVEN = {
    "count": 3,
    "fraction": None,
    "sizes": [4, 5],
    "pair": [1, 2.5],
    "color": "red",
    "part": {"size": 2},
    "thing": {"name": "small", "rate": 1},
}


def test_values_get_their_types_and_defaults() -> None:
    whole = read(Whole, GIVEN)
    for name in ("count", "fraction", "sizes", "color"):
        assert getattr(whole, name) == GIVEN[name]
    assert list(whole.pair) == GIVEN["pair"]
    assert (whole.part, whole.thing, whole.note) == (Part(2), Small("small", 1.0), "none")
    assert type(whole.thing.rate) is float
    more = read(Whole, GIVEN | {"things": {"a": {"name": "small", "rate": 2}}})
    assert more.things == {"a": Small("small", 2.0)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": -1}, "x.count must be at least 0, got -1"),
        ({"count": 10}, "x.count must be less than 10, got 10"),
        ({"count": "many"}, "x.count: "),
        ({"count": "???"}, "x.count is missing; give x.count=..."),
        ({"fraction": 1.5}, "x.fraction must be at most 1, got 1.5"),
        ({"fraction": float("nan")}, "x.fraction must be a finite number, got nan"),
        ({"sizes": [3, 0]}, "x.sizes must be at least 1, got 0"),
        ({"sizes": 3}, "x.sizes"),
        ({"pair": [1]}, "x.pair must be a list of 2 values, got [1.0]"),
        ({"color": "green"}, "x.color must be one of red, blue, got green"),
        ({"part": {"size": 3}}, "x.part.size=3 must be even"),
        ({"part": 3}, "x.part must be a group of settings"),
        ({"thing": {"name": "smal", "rate": 1}}, "x.thing.name: unknown thing 'smal'; did you"),
        ({"thing": {"rate": 1}}, "x.thing.name is missing"),
        ({"thing": {"name": "small", "rate": 0}}, "x.thing.rate must be more than 0, got 0"),
        ({"colour": "red"}, "unknown setting x.colour; did you mean 'color'?"),
    ],
)
def test_a_message_names_the_wrong_setting(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(Whole, GIVEN | wrong, "x.")
    assert str(caught.value).startswith(message)


def test_an_unlisted_component_is_a_module_of_its_package() -> None:
    settings = FAMILY["clipping"]
    assert settings == Component(
        "lmladder.optim.clipping:ClippingSettings", "lmladder.optim.clipping:Clipping"
    )
    for name in ("nothing", "no/name", "", None):
        with pytest.raises(InputError, match="unknown thing"):
            FAMILY[name]  # type: ignore[index]


def test_reading_the_configuration_loads_neither_numpy_nor_numba() -> None:
    program = (
        "import sys; from lmladder.config import register; register(); "
        "print(sorted({'numpy', 'numba', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
