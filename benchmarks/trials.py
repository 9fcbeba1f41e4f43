"""How often `lmladder try` is right, and how many runs it needs: simulated questions.

    python benchmarks/trials.py

Each pair of runs has the true difference plus noise of both runs. Beside it is the design without
looks: the smallest number of pairs whose t-test, once at the end, finds as many differences.
"""

import math
from collections import Counter

from lmladder.experiments.trials import BETTER, MAX_PAIRS, MIN_PAIRS, UNDECIDED, estimate
from lmladder.system.streams import stream

import numpy as np

DEVIATION = 0.003  # of the loss over seeds, in nats per token
SMALLEST = 0.005
QUESTIONS = 200
PATHS = 100_000


def ask(differences: list[float]) -> tuple[str, int]:
    """Return the answer to a question, and the number of pairs after which it is found."""
    for pairs in range(MIN_PAIRS, MAX_PAIRS + 1):
        answer = estimate(differences[:pairs]).answer(SMALLEST)
        if answer != UNDECIDED:
            return answer, pairs
    return UNDECIDED, MAX_PAIRS


def simulate(gain: float, questions: int = QUESTIONS) -> tuple[Counter[str], float]:
    """Return how often each answer is given to questions with a true gain, and the mean pairs."""
    rng = stream(0, f"gain {gain}")
    noise = rng.normal(0, DEVIATION, (2, questions, MAX_PAIRS))
    asked = [ask(each) for each in (noise[1] - noise[0] - gain).tolist()]
    return Counter(answer for answer, _ in asked), float(np.mean([pairs for _, pairs in asked]))


def fixed_pairs(gain: float, power: float) -> int:
    """Return the fewest pairs whose t-test at 5%, once at the end, finds a share `power`."""
    rng = stream(0, "fixed design")
    for pairs in range(2, 2 * MAX_PAIRS):
        noise = rng.normal(0, 1, (PATHS, pairs))
        error = noise.std(axis=1, ddof=1) / math.sqrt(pairs)
        critical = np.quantile(np.abs(noise.mean(axis=1)) / error, 0.95)
        effect = gain / (DEVIATION * math.sqrt(2))
        if ((effect + noise.mean(axis=1)) / error > critical).mean() >= power:
            return pairs
    raise ValueError(f"a gain of {gain} needs more than {2 * MAX_PAIRS} pairs")


def main() -> None:
    print(f"{QUESTIONS} questions each; deviation over seeds {DEVIATION}, --smallest {SMALLEST}")
    print("true gain  answers                                        runs  fixed design")
    for gain in (0.0, 0.0025, 0.005, 0.01, 0.02):
        answers, pairs = simulate(gain)
        found = answers[BETTER] / QUESTIONS
        fixed = f"{2 * fixed_pairs(gain, found)}" if gain >= SMALLEST else ""
        shown = ", ".join(f"{count} {answer}" for answer, count in answers.most_common())
        print(f"{gain:9.4f}  {shown:45} {2 * pairs:5.1f}  {fixed:>12}".rstrip())


if __name__ == "__main__":
    main()
