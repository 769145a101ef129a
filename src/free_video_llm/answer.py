"""An answer as data: its text, what it rests on (frames, times, regions, scores), its seconds.

Turns visual tokens into values for people and JSON. Drawing is left to `picture/`.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from free_video_llm.errors import check_keywords, shown
from free_video_llm.llm.chat import ChatPicture
from free_video_llm.plans.apply import Look, VisualTokens
from free_video_llm.plans.plan import Pathway, Plan
from free_video_llm.video.read import Frames
from free_video_llm.video.subtitles import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Unit = Literal["tokens", "patches"]


@dataclass(frozen=True, eq=False)
class KeptFrame:
    """One frame as one pathway kept it.

    Attributes:
        frame: index into the sampled frames.
        second: its time in the clip.
        score: cosine of the question with the whole frame.
        region: left, top, right, bottom of all kept tokens, as shares of the frame (0 to 1).
        cells: float [n,4], the same of every kept token.
        similarity: float [rows,columns], cosine of the question with each cell of the true grid,
            None where the pathway does not look at regions.
    """

    frame: int
    second: float
    score: float
    region: tuple[float, float, float, float]
    cells: np.ndarray = field(repr=False)
    similarity: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class PathwayEvidence:
    """What one pathway gave the model; `cropped`, whether parts of its frames were left out."""

    name: str
    tokens: int
    cropped: bool
    kept: tuple[KeptFrame, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What an answer rests on.

    Attributes:
        frames: the sampled frames, with pixels and times.
        scores: float [T], cosine of the question with each sampled frame.
        pathways: in the order of their tokens.
        all_tokens: tokens of all sampled frames at full detail, what the plan saves from.
        unit: what these and the pathways' `tokens` count: "tokens" of the language model, or, where
            pictures were sent and their tokens are the model's own affair, "patches" of the
            scorer's grid that lie in the pictures.
        said: the subtitles that stood in the prompt.
    """

    frames: Frames = field(repr=False)
    scores: np.ndarray = field(repr=False)
    pathways: tuple[PathwayEvidence, ...]
    all_tokens: int
    unit: Unit = "tokens"
    said: tuple[Line, ...] = ()

    def __repr__(self) -> str:
        kept = ", ".join(f"{p.name} {p.tokens:,}" for p in self.pathways)
        return f"Evidence({len(self.frames)} frames, {self.unit}: {kept} of {self.all_tokens:,})"

    @property
    def tokens(self) -> int:
        """Visual tokens in all."""
        return sum(pathway.tokens for pathway in self.pathways)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without pixels."""

        def short(values: Any, digits: int = 4) -> Any:
            return np.round(np.asarray(values, dtype=float), digits).tolist()

        def grid(values: np.ndarray | None) -> Any:
            return None if values is None else short(values)

        return {
            "source": self.frames.name,
            "width": self.frames.width,
            "height": self.frames.height,
            "duration_seconds": self.frames.duration,
            "total_frames": self.frames.total,
            "sampled": {
                "indices": self.frames.indices.tolist(),
                "seconds": short(self.frames.seconds),
                "scores": short(self.scores),
            },
            "all_tokens": self.all_tokens,
            "unit": self.unit,
            "said": [
                {"start": line.start, "end": line.end, "text": line.text} for line in self.said
            ],
            "pathways": [
                {
                    "name": pathway.name,
                    "tokens": pathway.tokens,
                    "cropped": pathway.cropped,
                    "frames": [
                        {
                            "sampled": kept.frame,
                            "second": round(kept.second, 4),
                            "score": round(kept.score, 4),
                            "region": short(kept.region),
                            "similarity": grid(kept.similarity),
                        }
                        for kept in pathway.kept
                    ],
                }
                for pathway in self.pathways
            ],
        }


def gather_evidence(
    frames: Frames, tokens: VisualTokens, plan: Plan, *, side: int, unit: Unit = "tokens"
) -> Evidence:
    """The evidence of one question's visual tokens; `side` is the tower's patches along a side."""
    scores = tokens.scores.float().cpu().numpy()
    region = tokens.region.numpy()
    pathway_of = tokens.pathway.numpy()
    parts = []
    for number, pathway in enumerate(plan.pathways):
        mine = region[pathway_of == number]
        frames_of = tokens.frame.numpy()[pathway_of == number]
        looks = tokens.looks[pathway.name]
        if pathway.pool.over_time:
            cells_of = [mine] * len(looks)  # each token was made of every frame
        elif pathway.pool.method.takes_share:  # as many of a frame as were worth it
            cells_of = [mine[frames_of == look.frame] for look in looks]
        else:
            cells_of = np.array_split(mine, max(1, len(looks)))  # frame by frame, as many of each
        grid = pathway.pool.grid_of(side)
        kept = []
        for look, cells in zip(looks, cells_of, strict=False):
            left, top = cells[:, :2].min(0)
            right, bottom = cells[:, 2:].max(0)
            kept.append(
                KeptFrame(
                    look.frame,
                    float(frames.seconds[look.frame]),
                    float(scores[look.frame]),
                    (float(left), float(top), float(right), float(bottom)),
                    cells,
                    _true_grid(look, grid),
                )
            )
        parts.append(PathwayEvidence(pathway.name, len(mine), _leaves_out(pathway), tuple(kept)))
    return Evidence(frames, scores, tuple(parts), len(frames) * side * side, unit)


def _leaves_out(pathway: Pathway) -> bool:
    """Whether a part of a frame is not in a pathway's tokens."""
    return pathway.crop is not None or pathway.pool.method.takes_share


def _true_grid(look: Look, grid: tuple[int, int]) -> np.ndarray | None:
    """A look's similarities on the true grid (the released reading of it may be transposed)."""
    if look.similarity is None:
        return None
    return look.similarity.float().cpu().numpy().reshape(grid)


@dataclass(frozen=True)
class Timings:
    """Seconds spent on an answer.

    Attributes:
        decode: in which the towers had no frame to work on, the video being decoded (or fetched
            from a cache). Frames are decoded while the towers work on those before them.
        encode: in which the towers worked. These two are the video's, spent once for all questions.
        prompt: the question's vector.
        select: choosing frames and regions.
        project: cropping, pooling and projecting tokens.
        prefill: the prompt, up to the first new token; in a batch, the batch's.
        generate: the tokens after it; in a batch, the batch's.
    """

    decode: float
    encode: float
    prompt: float
    select: float
    project: float
    prefill: float
    generate: float

    @property
    def total(self) -> float:
        return sum(self.as_dict().values())

    @property
    def perceive(self) -> float:
        """From features to visual tokens."""
        return self.select + self.project

    def as_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, eq=False, repr=False)
class Answer:
    """An answer with what it rests on. Answers are compared by identity.

    Attributes:
        text: what the language model said.
        token_ids: as it generated them.
        visual_tokens: what stood for the video, and where each token came from.
        evidence: the same for people: frames, boxes, similarities.
        timings: seconds by step.
        token_seconds: of each new token after the first; in a batch, the batch's.
        warnings: what the user should know (a cut question, a clip that is shorter than declared).
        pictures: what a picture model was shown, in order; none where tokens were.
        answer_tokens: of its text; a server has its own count.
        probabilities: of the options among one another, where they were chosen by likelihood.
        cost: in the server's money, where one answered that says so.
    """

    question: str
    text: str
    token_ids: tuple[int, ...]
    visual_tokens: VisualTokens
    evidence: Evidence
    timings: Timings
    plan: Plan
    model: str
    prompt: str
    prompt_tokens: int
    options: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    token_seconds: tuple[float, ...] = ()
    pictures: tuple[ChatPicture, ...] = ()
    answer_tokens: int = 0
    probabilities: tuple[float, ...] = ()
    cost: float | None = None

    @property
    def probability(self) -> float | None:
        """Of the chosen option among the options; None where the answer was generated."""
        return max(self.probabilities) if self.probabilities else None

    def __repr__(self) -> str:
        plan = self.plan.name or str(self.plan)
        return (
            f"Answer({shown(self.text)}, question={shown(self.question)}, plan={shown(plan)}, "
            f"{self.shown_in_words()}, model={shown(self.model)})"
        )

    def shown_in_words(self) -> str:
        """What the model was shown: "2,648 visual tokens", "9 pictures"."""
        if self.pictures:
            return f"{len(self.pictures)} picture{'s' * (len(self.pictures) > 1)}"
        return f"{len(self.visual_tokens):,} visual tokens"

    @check_keywords
    def save_picture(
        self, path: str | Path, *, width_px: int = 1200, heat_map: bool = True
    ) -> Path:
        """Write the evidence picture; PNG, SVG or PDF by the file's ending.

        Args:
            path: its folder is made.
            width_px: pixels across of a PNG; SVG and PDF are 8 inches wide.
            heat_map: whether to lay the patches' similarity over the frames.

        Raises:
            ConfigError: another ending, a width that is not allowed, or the file cannot be written.
        """
        from free_video_llm.picture import save_picture

        return save_picture(self, path, width_px=width_px, heat_map=heat_map)

    def figure(self, *, width_px: int = 1200, heat_map: bool = True) -> Figure:
        """The evidence picture as a matplotlib figure; see `save_picture`."""
        from free_video_llm.picture import draw_picture

        return draw_picture(self, width_px=width_px, heat_map=heat_map)

    def show(self) -> None:
        """The evidence picture in a notebook, or in a window of its own."""
        from PIL import Image

        with contextlib.suppress(ImportError):
            from IPython import display, get_ipython

            if get_ipython() is not None:
                display.display(self)
                return
        Image.open(io.BytesIO(self._repr_png_())).show()

    def _repr_png_(self) -> bytes:
        held = io.BytesIO()
        self.figure().savefig(held, format="png")
        return held.getvalue()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self._repr_png_()).decode()
        question, text = html.escape(self.question), html.escape(self.text)
        return (
            f"<p>{question}<br><b>{text}</b></p>"
            f'<img alt="what the answer rests on" width="600" '
            f'src="data:image/png;base64,{picture}">'
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON (docs/evidence.md describes every entry)."""
        return {
            "schema": 1,
            "question": self.question,
            "options": list(self.options),
            "answer": self.text,
            "token_ids": list(self.token_ids),
            "probabilities": list(self.probabilities),
            "model": self.model,
            "plan": {"name": self.plan.name, "notation": str(self.plan), **self.plan.to_dict()},
            "pictures": [picture.words for picture in self.pictures],
            "tokens": {
                "visual": 0 if self.pictures else len(self.visual_tokens),
                "by_pathway": self.visual_tokens.count_by_pathway(),
                "prompt": self.prompt_tokens,
                "answer": self.answer_tokens or len(self.token_ids),
            },
            "cost": self.cost,
            "evidence": self.evidence.to_dict(),
            "timings": self.timings.as_dict(),
            "warnings": list(self.warnings),
        }
