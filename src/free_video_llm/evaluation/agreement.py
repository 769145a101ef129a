"""How far the judges of a run agree with each other. Pure functions of their verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from free_video_llm.evaluation.statistics import Share
from free_video_llm.evaluation.summary import Judgements


@dataclass(frozen=True)
class Agreement:
    """Two judges on the rows that both have judged.

    Attributes:
        same: rows on which both said yes, or both no.
        kappa: Cohen's: agreement beyond what their shares of yes give by chance, 1 at most; None
            where that cannot be said (no rows, or both always said the same one thing).
        yes: how many each said yes to.
        score_difference: mean of the second's score − the first's; None without rows.
    """

    first: str
    second: str
    same: Share
    kappa: float | None
    yes: tuple[int, int]
    score_difference: float | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "second": self.second,
            "same": self.same.to_dict(),
            "kappa": self.kappa,
            "yes": list(self.yes),
            "score_difference": self.score_difference,
        }


def agreements(judges: Mapping[str, Judgements]) -> tuple[Agreement, ...]:
    """Every pair of judges, in order; none where there are fewer than two."""
    return tuple(
        _agreement(first, second, judges[first], judges[second])
        for first, second in itertools.combinations(judges, 2)
    )


def cohens_kappa(both: int, first_only: int, second_only: int, neither: int) -> float | None:
    """Agreement on yes and no beyond chance, from the four counts (Cohen, 1960).

    Examples:
        >>> cohens_kappa(20, 5, 10, 15)
        0.4
        >>> cohens_kappa(7, 0, 0, 0) is None
        True
    """
    n = both + first_only + second_only + neither
    if not n:
        return None
    first, second = (both + first_only) / n, (both + second_only) / n
    chance = first * second + (1 - first) * (1 - second)
    return None if chance == 1 else round(((both + neither) / n - chance) / (1 - chance), 12)


def _agreement(name: str, other: str, first: Judgements, second: Judgements) -> Agreement:
    pairs = [
        (verdict, second[identity])
        for identity, verdict in first.items()
        if verdict["status"] == "judged"
        and identity in second
        and second[identity]["status"] == "judged"
    ]
    said = [(a["pred"] == "yes", b["pred"] == "yes") for a, b in pairs]
    both, neither = said.count((True, True)), said.count((False, False))
    one, two = said.count((True, False)), said.count((False, True))
    scores = [float(b["score"]) - float(a["score"]) for a, b in pairs]
    return Agreement(
        first=name,
        second=other,
        same=Share(both + neither, len(pairs)),
        kappa=cohens_kappa(both, one, two, neither),
        yes=(both + one, both + two),
        score_difference=sum(scores) / len(scores) if scores else None,
    )
