"""A Transformer of single numbers that learns to invent names.

    python examples/microgpt.py [--steps N] [--seed S] [--names N]

The microgpt recipe on the scalar engine: no arrays, each weight a `Value`, one name of names.txt a
step. Its loss is in nats per character, the end of a name counted as one, on names
that it was trained on a moment ago and on names that it has never seen.
"""

import argparse
import math
import random
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from lmladder.data import AnyCorpus
from lmladder.system.errors import InputError, LadderError
from lmladder.system.settings import validate

import yaml
from scalar import Value, dot

NAMES = Path(__file__).resolve().parent.parent / "conf/data/names.yaml"
HELD_OUT = 200  # names
REPORT_EVERY = 100  # steps; the training loss is the mean over as many names

BOUNDARY = "."  # the symbol that opens and closes a name
D_MODEL, N_HEAD, CONTEXT_LENGTH = 16, 4, 16
DEVIATION = 0.08  # of initial weights
LEARNING_RATE, BETA1, BETA2, EPSILON = 0.01, 0.85, 0.99, 1e-8
TEMPERATURE = 0.5

Vector = list[Value]
Matrix = list[Vector]


class Microgpt:
    """One layer, no biases, norms without weights, and a head of its own."""

    def __init__(self, symbols: int, rng: random.Random):
        def matrix(rows: int, columns: int) -> Matrix:
            return [[Value(rng.gauss(0, DEVIATION)) for _ in range(columns)] for _ in range(rows)]

        self.tokens = matrix(symbols, D_MODEL)
        self.positions = matrix(CONTEXT_LENGTH, D_MODEL)
        self.query, self.key, self.value, self.output = (matrix(D_MODEL, D_MODEL) for _ in range(4))
        self.up_proj = matrix(4 * D_MODEL, D_MODEL)
        self.down_proj = matrix(D_MODEL, 4 * D_MODEL)
        self.head = matrix(symbols, D_MODEL)

    def parameters(self) -> Vector:
        return [each for matrix in vars(self).values() for row in matrix for each in row]

    def logits(self, token: int, keys: Matrix, values: Matrix) -> Vector:
        """Scores of the symbols that may follow; this position joins the `keys` and `values`."""
        x = norm(add(self.tokens[token], self.positions[len(keys)]))
        inside = norm(x)
        query = linear(inside, self.query)
        keys.append(linear(inside, self.key))
        values.append(linear(inside, self.value))
        gathered: Vector = []
        size = D_MODEL // N_HEAD
        for head in (slice(start, start + size) for start in range(0, D_MODEL, size)):
            weights = softmax([dot(query[head], key[head]) / size**0.5 for key in keys])
            columns = zip(*(value[head] for value in values), strict=True)
            gathered += [dot(weights, column) for column in columns]
        x = add(x, linear(gathered, self.output))
        hidden = [each.relu() for each in linear(norm(x), self.up_proj)]
        x = add(x, linear(hidden, self.down_proj))
        return linear(x, self.head)

    def nll(self, tokens: Sequence[int]) -> Vector:
        """-log probability of each token but the first."""
        keys: Matrix = []
        values: Matrix = []
        return [-softmax(self.logits(a, keys, values))[b].log() for a, b in pairwise(tokens)]

    def sample(self, boundary: int, rng: random.Random) -> list[int]:
        """The tokens of one new name."""
        keys: Matrix = []
        values: Matrix = []
        made = [boundary]
        while len(keys) < CONTEXT_LENGTH:
            scores = self.logits(made[-1], keys, values)
            weights = numbers(softmax([each / TEMPERATURE for each in scores]))
            made += rng.choices(range(len(weights)), weights)
            if made[-1] == boundary:
                break
        return made


def numbers(x: Vector) -> list[float]:
    return [each.data for each in x]


def add(x: Vector, y: Vector) -> Vector:
    return [a + b for a, b in zip(x, y, strict=True)]


def linear(x: Vector, matrix: Matrix) -> Vector:
    return [dot(row, x) for row in matrix]


def norm(x: Vector) -> Vector:
    scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
    return [each * scale for each in x]


def softmax(x: Vector) -> Vector:
    largest = max(x).data
    powers = [(each - largest).exp() for each in x]
    total = sum(powers, Value(0))
    return [each / total for each in powers]


class Adam:
    """Adam with its learning rate falling to 0 on a straight line."""

    def __init__(self, parameters: Vector, steps: int):
        self.parameters, self.steps = parameters, steps
        self.means = [0.0] * len(parameters)
        self.squares = [0.0] * len(parameters)

    def step(self, step: int) -> None:
        """Follow the gradients and clear them; `step` counts from 0."""
        rate = LEARNING_RATE * (1 - step / self.steps) / (1 - BETA1 ** (step + 1))
        unbias = 1 / (1 - BETA2 ** (step + 1))
        for i, each in enumerate(self.parameters):
            self.means[i] += (1 - BETA1) * (each.grad - self.means[i])
            self.squares[i] += (1 - BETA2) * (each.grad**2 - self.squares[i])
            each.data -= rate * self.means[i] / ((self.squares[i] * unbias) ** 0.5 + EPSILON)
            each.grad = 0.0


def mean(nats: Iterable[list[float]]) -> float:
    """Over all characters of several names, so that long names weigh more."""
    every = [each for name in nats for each in name]
    return sum(every) / len(every)


def load_names() -> list[str]:
    """The names of `data=names`, downloaded where they are not in the cache yet."""
    settings = validate(AnyCorpus, yaml.safe_load(NAMES.read_text()))
    return list(settings.load().texts)


def run(steps: int, seed: int, count: int) -> None:
    """Train for some steps, then print `count` new names."""
    rng = random.Random(seed)
    names = load_names()
    rng.shuffle(names)
    symbols = [BOUNDARY, *sorted(set("".join(names)))]
    held_out = names[:HELD_OUT]
    training = [name for name in names[HELD_OUT:] if name not in held_out]
    model = Microgpt(len(symbols), rng)
    parameters = model.parameters()
    optimizer = Adam(parameters, steps)

    def nll(name: str) -> Vector:
        return model.nll([symbols.index(each) for each in (BOUNDARY, *name, BOUNDARY)])

    print(f"parameters: {len(parameters):,}; symbols: {len(symbols)}")
    print(f"names: {len(training):,} to train on, {len(held_out)} others held out")
    print(f"nats a character: {math.log(len(symbols)):.4f} for a uniform guess")
    recent: deque[list[float]] = deque(maxlen=REPORT_EVERY)
    for step in range(steps):
        losses = nll(training[step % len(training)])
        (sum(losses, Value(0)) / len(losses)).backward()
        optimizer.step(step)
        recent.append(numbers(losses))
        if (done := step + 1) % REPORT_EVERY == 0 or done == steps:
            print(f"step {done:,}: {mean(recent):.4f} on its last {len(recent)} names", flush=True)
    print(f"held out: {mean(numbers(nll(name)) for name in held_out):.4f}")
    print(f"{count} new names at temperature {TEMPERATURE}:")
    for _ in range(count):
        made = model.sample(symbols.index(BOUNDARY), rng)
        print("".join(symbols[token] for token in made).strip(BOUNDARY))


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def main() -> int:
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1000, help="names to train on, one a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--names", type=int, default=20, help="how many to invent")
    try:
        given = parser.parse_args()
        if given.steps < 1 or given.names < 1:
            raise InputError("--steps and --names must be 1 or more")
        run(given.steps, given.seed, given.names)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
