"""Statistics of a few runs: mean, standard deviation, and 95% intervals by Student's t."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
_PRECISION = 1e-12


@dataclass(frozen=True)
class Spread:
    """One figure over the seeds.

    Attributes:
        values: By seed.
        mean: Of the values.
        deviation: Standard deviation of the sample (n - 1); None with fewer than two values.
    """

    values: Mapping[int, float]
    mean: float
    deviation: float | None

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.values)

    @property
    def error(self) -> float | None:
        """Standard error of the mean; None with fewer than two values."""
        return None if self.deviation is None else self.deviation / math.sqrt(self.count)


@dataclass(frozen=True)
class Difference:
    """Mean of the differences of two methods on the same seeds.

    Attributes:
        values: By seed.
        mean: Of the differences.
        low: Lower end of its 95% interval; None with fewer than two seeds.
        high: Upper end.
    """

    values: Mapping[int, float]
    mean: float
    low: float | None
    high: float | None

    @property
    def count(self) -> int:
        """Number of seeds."""
        return len(self.values)

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_of(values: Sequence[float]) -> float:
    """Arithmetic mean.

    Raises:
        ValueError: There is no value.
    """
    if not values:
        raise ValueError("the mean of no value")
    return math.fsum(values) / len(values)


def deviation_of(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample, with n - 1; None with fewer than two values."""
    if len(values) < 2:
        return None
    mean = mean_of(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def spread_of(values: Mapping[int, float]) -> Spread:
    """Mean and standard deviation of a figure over its seeds.

    Raises:
        ValueError: There is no value.
    """
    numbers = list(values.values())
    return Spread(dict(values), mean_of(numbers), deviation_of(numbers))


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """Differences to a reference on the seeds that both have, with the t interval of their mean; None without such.

    Pairing takes out what all methods share on a seed: how hard its data are.
    """
    pairs = {seed: value - reference[seed] for seed, value in values.items() if seed in reference}
    if not pairs:
        return None
    numbers = list(pairs.values())
    mean, deviation = mean_of(numbers), deviation_of(numbers)
    if deviation is None:
        return Difference(pairs, mean, None, None)
    half = student_quantile((1 + CONFIDENCE) / 2, len(numbers) - 1) * deviation / math.sqrt(len(numbers))
    return Difference(pairs, mean, mean - half, mean + half)


def student_distribution(t: float, freedom: int) -> float:
    """Probability that Student's t with ``freedom`` degrees is at most ``t``.

    The finite sums for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    Raises:
        ValueError: There is no degree of freedom.
    """
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom")
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for number in range(1, freedom // 2 + 1):
        total += term
        top = 2 * number if odd else 2 * number - 1
        term *= cosine**2 * top / (top + 1)
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + inside / 2


def student_quantile(probability: float, freedom: int) -> float:
    """The ``t`` at which :func:`student_distribution` is ``probability``, by bisection.

    Raises:
        ValueError: The probability is not between 0 and 1, or there is no degree of freedom.
    """
    if not 0 < probability < 1:
        raise ValueError(f"{probability} is not a probability between 0 and 1")
    low, high = -1.0, 1.0
    while student_distribution(low, freedom) > probability:
        low *= 2
    while student_distribution(high, freedom) < probability:
        high *= 2
    while high - low > _PRECISION * max(1.0, abs(low), abs(high)):
        middle = (low + high) / 2
        if student_distribution(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2
