"""An exponential moving average of the weights."""

from collections.abc import Mapping

from lmladder.autograd import Tensor
from lmladder.optim.optimizer import Optimizer
from lmladder.system.arrays import FloatArray

PREFIX = "ema."


class Averaging(Optimizer):
    """Another optimizer, and an average of the weights, which replaces these after the last step.

    Parameters
    ----------
    parameters : all that the optimizer updates, by name
    decay : of the average; smaller in the first steps, as these are far from where a run ends
    steps : of the whole run
    """

    def __init__(
        self, optimizer: Optimizer, parameters: Mapping[str, Tensor], decay: float, steps: int
    ):
        super().__init__(parameters, optimizer.settings)
        self.optimizer, self.decay, self.steps = optimizer, decay, steps
        self.average = {name: each.value.copy() for name, each in parameters.items()}

    def step(self, number: int, *, factor: float = 1.0, gradient_scale: float = 1.0) -> None:
        self.optimizer.step(number, factor=factor, gradient_scale=gradient_scale)
        decay = min(self.decay, (1 + number) / (10 + number))
        for name, tensor in self.parameters.items():
            average = self.average[name]
            average += average.dtype.type(1 - decay) * (tensor.value - average)
            if number + 1 == self.steps:
                tensor.value = average.copy()

    def state(self) -> dict[str, FloatArray]:
        averages = {PREFIX + name: average for name, average in self.average.items()}
        return {**self.optimizer.state(), **averages}
