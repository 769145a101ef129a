"""Intervals and paired differences. Pure functions of numbers; knows nothing of runs or files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """A share of yes among n, with its 95 % interval (Wilson's)."""

    yes: int
    n: int

    @property
    def value(self) -> float | None:
        return self.yes / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """None where n is 0."""
        return wilson(self.yes, self.n) if self.n else None

    def to_dict(self) -> dict[str, Any]:
        interval = self.interval
        return {
            "yes": self.yes,
            "n": self.n,
            "value": self.value,
            "interval95": None if interval is None else list(interval),
        }


def wilson(yes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share.

    Examples:
        >>> [round(x, 4) for x in wilson(8, 10)]
        [0.4902, 0.9433]
    """
    if not 0 <= yes <= n or n < 1:
        raise ValueError(f"a share is 0 ≤ yes ≤ n with n at least 1, not {yes} of {n}")
    share = yes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if yes == 0 else (centre - spread) / scale
    high = 1.0 if yes == n else (centre + spread) / scale
    return low, high


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided p that rows which only one run got right fall so unevenly by chance.

    Examples:
        >>> mcnemar(2, 10)
        0.03857421875
    """
    n = first_only + second_only
    if n == 0:
        return 1.0
    fewer = range(min(first_only, second_only) + 1)
    if n <= 1000:
        tail: float = sum(math.comb(n, k) for k in fewer) / 2**n
    else:  # the whole numbers would grow too long
        tail = sum(math.exp(_log_choose(n, k) - n * math.log(2)) for k in fewer)
    return min(1.0, 2.0 * tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@dataclass(frozen=True)
class Difference:
    """The mean difference of pairs with a 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[object],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Mean of second − first with a bootstrap interval that resamples whole groups (videos).

    Questions about one video are not independent; drawing videos, not rows, keeps the interval
    honest. With a single group the interval is the whole range −1 to 1, for nothing is known.

    Raises:
        ValueError: no pairs, or lengths that differ.
    """
    import numpy as np

    if not first or not len(first) == len(second) == len(groups):
        raise ValueError("pairs need equally many first, second and groups, at least one")
    number: dict[object, int] = {}
    index = np.array([number.setdefault(group, len(number)) for group in groups])
    sums = np.bincount(index, np.asarray(second, float) - np.asarray(first, float))
    sizes = np.bincount(index).astype(float)
    value = float(sums.sum() / sizes.sum())
    if len(sums) == 1:
        return Difference(value, -1.0, 1.0)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, 2_000_000 // len(sums))
    for start in range(0, resamples, step):
        draws = rng.integers(len(sums), size=(min(step, resamples - start), len(sums)))
        means[start : start + len(draws)] = sums[draws].sum(1) / sizes[draws].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference(value, float(low), float(high))
