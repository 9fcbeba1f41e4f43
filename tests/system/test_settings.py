"""Settings are checked as they are declared, and a message names the wrong one."""

from typing import Annotated, Any, Literal, Self

from lmladder.system.errors import InputError
from lmladder.system.settings import Count, Fraction, OneOf, Settings, described, validate

import pytest
from pydantic import Field, model_validator


class Small(Settings):
    """Settings of one component."""

    name: Literal["small"] = Field(description="which one")
    learning_rate: float = Field(gt=0, description="of a step")


class Large(Settings):
    """Settings of another one."""

    name: Literal["large"] = Field(description="which one")


class Part(Settings):
    """A group."""

    size: Count = Field(description="how large")

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.size % 2:
            raise ValueError(f"size={self.size} must be even")
        return self


Choice = Annotated[Small | Large, Field(discriminator="name")]


class Whole(Settings):
    """Everything."""

    count: Annotated[int, Field(ge=0, lt=10)] = Field(description="how many")
    fraction: Fraction | None = Field(description="a part")
    sizes: list[Count] = Field(description="of layers")
    pair: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(description="two")
    color: Annotated[str, OneOf({"red": 1, "blue": 2})] = Field(description="one of two")
    part: Part = Field(description="a group")
    thing: Choice = Field(description="chosen by name")
    things: dict[str, Choice] = Field(description="several, by name")


GIVEN: dict[str, Any] = {
    "count": 3,
    "fraction": None,
    "sizes": [4, 5],
    "pair": [1, 2.5],
    "color": "red",
    "part": {"size": 2},
    "thing": {"name": "small", "learning_rate": 1},
    "things": {"a": {"name": "small", "learning_rate": 2}},
}


def test_values_get_their_types() -> None:
    whole = validate(Whole, GIVEN)
    assert whole.model_dump() == GIVEN
    assert (type(whole.pair[0]), type(whole.things["a"])) == (float, Small)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": -1}, "x.count must be at least 0, got -1"),
        ({"fraction": 1.5}, "x.fraction must be at most 1, got 1.5"),
        ({"pair": [1]}, "x.pair must have at least 2 items, not 1, got [1]"),
        ({"color": "green"}, "x.color must be 'red' or 'blue', got \"green\""),
        ({"part": {"size": 3}}, "x.part.size=3 must be even"),
        ({"part": "large"}, 'x.part must be a group of settings, got "large"; choose part@x.par'),
        ({"thing": {"name": "smal"}}, "x.thing: unknown 'smal'; did you mean 'small'?"),
        ({"thing": {"learning_rate": 1}}, "x.thing.name is missing; give x.thing.name=..."),
        ({"thing": {"name": "small", "lr": 1}}, "unknown setting x.thing.lr; did you mean 'x.thi"),
        ({"colour": "red"}, "unknown setting x.colour; did you mean 'x.color'?"),
    ],
)
def test_a_message_names_the_wrong_setting(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(Whole, GIVEN | wrong, "x")
    assert str(caught.value).startswith(message)


def test_a_description_has_type_range_and_choices_of_the_components_that_are_chosen() -> None:
    found = {each.key: each.allowed for each in described(Whole, GIVEN)}
    assert found == {
        "count": "integer, at least 0, less than 10",
        "fraction": "number, at least 0, at most 1 or null",
        "sizes": "list of (integer, at least 1)",
        "pair": "list of 2 (number)",
        "color": "one of red, blue",
        "part": "",
        "part.size": "integer, at least 1",
        "thing": "",
        "thing.name": "one of small, large",
        "thing.learning_rate": "number, more than 0",
        "things": "",
        "things.a.name": "one of small, large",
        "things.a.learning_rate": "number, more than 0",
    }
    every = [(each.key, each.choice) for each in described(Whole)]
    assert ("thing.learning_rate", "small") in every
    assert ("thing.name", "large") in every
