"""What the study compares: plans by name, and which are to be laid beside which.

A frame of `tiny` has 12 × 12 patches; pooled in squares of four it has 36 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

_SQUARE = "spatial_2d_max_pool"


@dataclass(frozen=True)
class Method:
    """A plan of the study.

    Attributes:
        group: "selector", "region", "reducer" or "preset".
        name: of what differs within the group.
        plan: preset or notation.
    """

    group: str
    name: str
    plan: str


def _selector(name: str, count: int) -> Method:
    return Method("selector", name, f"f={name}:{count}/{_SQUARE}")


#: Drawn as curves over 36, 72, 144 and 288 tokens; the others stand at 144.
CURVES = ("uniform", "prompt", "prompt-diverse", "bolt", "gate")
COUNTS = (1, 2, 4, 8)
AT_144 = ("dpp", "aks", "focus", "peaks")

SELECTORS = (
    *(_selector(name, count) for name in CURVES for count in COUNTS),
    *(_selector(name, 4) for name in AT_144),
)
#: The four frames nearest to the question at full detail, cropped to a quarter: 144 tokens too.
REGIONS = tuple(
    Method("region", name, f"f=prompt:4/{kind}:0.25")
    for name, kind in (
        ("window", "concat/crop"),
        ("window by the map", "windows"),
        ("mean-center", "concat/mean-center"),
        ("cells", "concat/cells"),
        ("middle", "concat/center-crop"),
    )
)
#: All fifty frames, and the eight nearest to the question, reduced to 144 tokens.
REDUCERS = tuple(
    Method("reducer", f"{of} {name}", f"f={select}/{name}:{share}")
    for of, select, share in (("all", "all", 0.02), ("8 nearest", "prompt:8", 0.125))
    for name in ("vidcom2", "vcast", "evs", "max-min")
)
PRESETS = tuple(
    Method("preset", name, name)
    for name in ("paper", "paper-small", "slowfast", "uniform", "lean", "moment", "global")
)
METHODS = (*SELECTORS, *REGIONS, *REDUCERS, *PRESETS)

#: In long clips: the same plan over fifty even candidates, over one a second, and over a tenth of
#: those.
LONG = tuple(
    Method("long", name, plan)
    for name, plan in (
        ("uniform:4", f"f=uniform:4/{_SQUARE}"),
        ("uniform:6", f"f=uniform:6/{_SQUARE}"),
        ("prompt:4", f"f=prompt:4/{_SQUARE}"),
        ("bolt:4", f"f=bolt:4/{_SQUARE}"),
        ("long", "long"),
        ("moment", "moment"),
        ("paper", "paper"),
    )
)
#: Candidates by name, as options of `VideoLLM.watch`.
CANDIDATES: dict[str, dict[str, float]] = {
    "50 even": {"frames": 50},
    "1 a second": {"fps": 1.0},
    "search 0.1": {"search": 0.1},
}
