"""The few verbs of the library: `VideoLLM.from_pretrained`, `watch`, `ask`.

Puts decoding, towers, perception and the language model together. Knows nothing of the command
line, the web page or evaluation.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.encoder.features import Memo, VideoFeatures
from free_video_llm.encoder.stream import Progress, read_and_encode
from free_video_llm.encoder.tower import PromptVector, Towers
from free_video_llm.errors import ConfigError, VideoError
from free_video_llm.evidence import Evidence, gather_evidence
from free_video_llm.llm.generate import Decoding, Generation
from free_video_llm.llm.prompts import choice_mode, template_named
from free_video_llm.models.load import Loaded, LoadOptions, load
from free_video_llm.plans.apply import VisualTokens, perceive
from free_video_llm.plans.plan import Plan, Rules
from free_video_llm.profiling.stopwatch import Stopwatch, now
from free_video_llm.video.read import Frames, read_frames

if TYPE_CHECKING:
    from free_video_llm.encoder.cache import FeatureCache

DEFAULT_PLAN = "paper"
DEFAULT_FRAMES = 50


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


@dataclass(frozen=True)
class Answer:
    """An answer with what it rests on.

    Attributes:
        text: what the language model said.
        token_ids: as it generated them.
        visual_tokens: what stood for the video, and where each token came from.
        evidence: the same for people: frames, boxes, similarities.
        timings: seconds by step.
        token_seconds: of each new token after the first; in a batch, the batch's.
        warnings: what the user should know (a cut question, a clip that is shorter than declared).
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

    def save_picture(self, path: str | Path, **style: Any) -> Path:
        """Write the evidence picture; PNG, SVG or PDF by the file's ending."""
        from free_video_llm.picture import save_picture

        return save_picture(self, path, **style)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON (docs/evidence.md describes every entry)."""
        return {
            "schema": 1,
            "question": self.question,
            "options": list(self.options),
            "answer": self.text,
            "token_ids": list(self.token_ids),
            "model": self.model,
            "plan": {"name": self.plan.name, "notation": str(self.plan), **self.plan.to_dict()},
            "tokens": {
                "visual": len(self.visual_tokens),
                "by_pathway": self.visual_tokens.count_by_pathway(),
                "prompt": self.prompt_tokens,
                "answer": len(self.token_ids),
            },
            "evidence": self.evidence.to_dict(),
            "timings": self.timings.as_dict(),
            "warnings": list(self.warnings),
        }


@dataclass
class Video:
    """A video that has been watched: its frames and features, kept for any number of questions."""

    llm: VideoLLM
    frames: Frames
    features: VideoFeatures
    decode_seconds: float
    encode_seconds: float
    memo: Memo = field(default_factory=dict, repr=False)
    from_cache: bool = False

    def ask(
        self,
        question: str,
        *,
        plan: str | Plan = DEFAULT_PLAN,
        rules: Rules | None = None,
        options: Sequence[str] = (),
        **decoding: Any,
    ) -> Answer:
        """Ask a question about this video; see `VideoLLM.ask`."""
        answers = self.llm.ask(
            [(self, question)], plan=plan, rules=rules, options=[options], **decoding
        )
        return answers[0]

    def perceive(
        self, question: str | PromptVector, plan: Plan, *, stopwatch: Stopwatch | None = None
    ) -> tuple[VisualTokens, tuple[str, ...]]:
        """The visual tokens of a plan for a question, and warnings; the LLM is not run.

        A stopwatch gets the seconds of "select" and "project".
        """
        prompt = question
        if isinstance(prompt, str):
            prompt = self.llm.towers.encode_prompt(prompt)
        notes = list(self.frames.warnings)
        if prompt.truncated:
            notes.append(
                "the question is longer than the text encoder takes: its end was not "
                "used to choose frames and regions (the language model reads all of it)"
            )
        projector = self.llm.image_llm.projector
        tokens = perceive(
            self.features, prompt.vector, plan, projector, memo=self.memo, stopwatch=stopwatch
        )
        return tokens, tuple(notes)


class VideoLLM:
    """An image LLM that answers questions about videos, without training.

    Examples:
        >>> llm = VideoLLM.from_pretrained("tiny")              # doctest: +SKIP
        >>> video = llm.watch("clip.mp4", frames=50)            # doctest: +SKIP
        >>> video.ask("What color is the star?").text           # doctest: +SKIP
        'red'
    """

    def __init__(self, loaded: Loaded) -> None:
        self.name = loaded.name
        self.loaded = loaded
        self.towers = loaded.towers
        self.image_llm = loaded.llm
        self.conv_mode = loaded.conv_mode

    @classmethod
    def from_pretrained(cls, name: str | Path = "tiny", **options: Any) -> VideoLLM:
        """Load a model by Hub id, folder (original LLaVA or transformers layout), or "tiny".

        Keyword options are those of `LoadOptions`: scorer, dtype, device_map, load_in_8bit,
        load_in_4bit, rope_scaling_factor, conv_mode.

        Raises:
            CheckpointError: it cannot be found or does not fit together.
            ConfigError: an option that cannot be met on this machine.
        """
        return cls(load(name, LoadOptions(**options)))

    def watch(
        self,
        source: str | Path | Frames,
        *,
        frames: int = DEFAULT_FRAMES,
        mode: str = "exact",
        resize: str = "bicubic",
        batch: int | None = None,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> Video:
        """Decode and encode a video once.

        Args:
            source: a video file, a folder of images, or `Frames` that were read before.
            frames: how many to sample, evenly (METHOD §1.1); a shorter clip gives what it has.
            mode: "exact", or "keyframes" for files with long groups of pictures.
            resize: "bicubic" in the decoder, or "pil", which a plan of rules "released" needs
                to give the released code's tokens.
            batch: frames per pass of a tower; None sizes it to the memory that is free.
            cache: where the features are looked for, and kept. `Frames` are not cached.
            progress: called with "decode" or "encode", how much is done, and of how much.

        Raises:
            VideoError: the source gives no frames.
        """
        if isinstance(source, Frames):
            start = time.perf_counter()
            features = self.towers.encode(
                source.pixels, batch=batch, progress=_named(progress, "encode")
            )
            return Video(self, source, features, 0.0, time.perf_counter() - start)
        start = time.perf_counter()
        key = _key(cache, source, self.towers, count=frames, mode=mode, resize=resize)
        if cache is not None and key is not None:
            entry = cache.get(key, self.towers, str(source))
            if entry is not None:
                seconds = time.perf_counter() - start
                return Video(self, entry.frames, entry.features, seconds, 0.0, entry.memo, True)
        read = functools.partial(
            read_frames,
            source,
            count=frames,
            size=self.towers.size,
            mode=mode,  # type: ignore[arg-type]
            resize=resize,  # type: ignore[arg-type]
        )
        watched = read_and_encode(
            lambda arrived: read(arrived=arrived), self.towers, batch=batch, progress=progress
        )
        video = Video(self, watched.frames, watched.features, watched.waited, watched.encoded)
        if cache is not None and key is not None:
            video.memo = cache.put(key, video.frames, video.features).memo
        return video

    def ask(
        self,
        questions: Sequence[tuple[Video, str]],
        *,
        plan: str | Plan = DEFAULT_PLAN,
        rules: Rules | None = None,
        options: Sequence[Sequence[str]] | None = None,
        conv_mode: str | None = None,
        **decoding: Any,
    ) -> list[Answer]:
        """Answer several questions, on one or several videos, in one batch.

        Args:
            questions: pairs of a watched video and a question.
            plan: a `Plan`, or text for `Plan.parse`.
            rules: "corrected" or "released", over the plan's own.
            options: for each question the choices of a multiple-choice question, or none.
            conv_mode: prompt template; the model's own where None.
            **decoding: fields of `Decoding`, such as max_new_tokens, temperature, seed.

        Raises:
            PlanError: the plan cannot be read, or not be applied to a clip.
            ConfigError: a wrong option, or a prompt longer than the model holds.
        """
        plan = resolve_plan(plan, rules)
        settings = _decoding(decoding)
        choices = [tuple(c) for c in options] if options is not None else [()] * len(questions)
        if len(choices) != len(questions):
            raise ConfigError(f"{len(questions)} questions but {len(choices)} lists of options")
        mode = conv_mode or self.conv_mode
        if not questions:
            return []
        for _, question in questions:
            if not question.strip():
                raise ConfigError("the question is empty")
        start = now(self.towers.device)
        vectors = self.towers.encode_prompts([question for _, question in questions])
        share = (now(self.towers.device) - start) / len(questions)
        looks, prompts = [], []
        stops: set[str] = set()
        for (video, question), choice, vector in zip(questions, choices, vectors, strict=True):
            stopwatch = Stopwatch(self.towers.device)
            tokens, notes = video.perceive(vector, plan, stopwatch=stopwatch)
            looks.append((tokens, notes, stopwatch.seconds | {"prompt": share}))
            template = template_named(choice_mode(mode) if choice else mode)
            prompts.append(template.fill(question, choice))
            stops.update(template.stop)
        generations = self.image_llm.generate(
            prompts,
            [tokens.embeds for tokens, _, _ in looks],
            decoding=settings,
            stop=sorted(stops),
        )
        rows = zip(questions, choices, prompts, looks, generations, strict=True)
        return [self._answer(plan, *row) for row in rows]

    def _answer(
        self,
        plan: Plan,
        asked: tuple[Video, str],
        choice: tuple[str, ...],
        prompt: str,
        look: tuple[VisualTokens, tuple[str, ...], dict[str, float]],
        generation: Generation,
    ) -> Answer:
        video, question = asked
        tokens, notes, seconds = look
        for note in notes:
            warnings.warn(note, stacklevel=4)
        return Answer(
            question=question,
            text=generation.text,
            token_ids=generation.token_ids,
            visual_tokens=tokens,
            evidence=gather_evidence(video.frames, tokens, plan, side=video.features.side),
            timings=Timings(
                video.decode_seconds,
                video.encode_seconds,
                seconds["prompt"],
                seconds["select"],
                seconds["project"],
                generation.prefill_seconds,
                generation.decode_seconds,
            ),
            plan=plan,
            model=self.name,
            prompt=prompt,
            prompt_tokens=generation.prompt_tokens,
            options=choice,
            warnings=notes,
            token_seconds=generation.token_seconds,
        )


def resolve_plan(plan: str | Plan, rules: Rules | None = None) -> Plan:
    """A plan from text or as it is, with the rules asked for."""
    if isinstance(plan, Plan):
        return plan if rules is None else replace(plan, rules=rules)
    return Plan.parse(plan, rules=rules)


def _decoding(values: dict[str, Any]) -> Decoding:
    from free_video_llm.errors import one_of

    for key in values:
        one_of("option", key, Decoding.__dataclass_fields__, ConfigError)
    return Decoding(**values)


def _named(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)


def _key(
    cache: FeatureCache | None, source: str | Path, towers: Towers, **sampling: Any
) -> str | None:
    """The key of a source in a cache; None where there is none, or the file cannot be read (which
    reading it will say better)."""
    if cache is None:
        return None
    from free_video_llm.encoder.cache import feature_key

    try:
        return feature_key(source, towers, **sampling)
    except (OSError, VideoError):
        return None
