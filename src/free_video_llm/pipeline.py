"""The few verbs of the library: `VideoLLM.from_pretrained`, `watch`, `ask`.

Puts decoding, towers, plans and the language model together. Knows nothing of the command line, the
web page or evaluation.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from free_video_llm.answer import Answer
from free_video_llm.asking import Choose, answer_all, check_choose, check_plan
from free_video_llm.encoder.saved import load_video
from free_video_llm.encoder.stream import Progress, named
from free_video_llm.encoder.watching import Reading, watch
from free_video_llm.errors import ConfigError, check_keywords, shown
from free_video_llm.llm.chat import PictureLLM
from free_video_llm.llm.generate import Decoding, ImageLLM
from free_video_llm.llm.prompts import check_options, check_own
from free_video_llm.llm.selected_tokens import SelectedTokensLLM
from free_video_llm.looking import checked_pair, look
from free_video_llm.models.family import LLM, Level
from free_video_llm.models.load import Loaded, LoadOptions, load, load_scorer
from free_video_llm.models.options import FramesAs
from free_video_llm.plans.notation import any_keeps_all, resolve_plan
from free_video_llm.plans.plan import Plan, Rules
from free_video_llm.profiling.memory import free_memory
from free_video_llm.video.arrays import given_frames
from free_video_llm.video.fetch import locate
from free_video_llm.video.ranges import check_ranges
from free_video_llm.video.read import Mode, Resize, count_at
from free_video_llm.video.speech import is_speech, written_down
from free_video_llm.video.subtitles import Line, find_subtitles
from free_video_llm.watched import DEFAULT_PLAN, Video

if TYPE_CHECKING:
    import torch

    from free_video_llm.encoder.cache import FeatureCache
    from free_video_llm.video.arrays import Source

DEFAULT_FRAMES = 50
log = logging.getLogger(__name__)
MOST_CANDIDATES = 3600  # sampled at a rate: an hour at one a second
__all__ = ["DEFAULT_FRAMES", "DEFAULT_PLAN", "Dtype", "MOST_CANDIDATES", "Video", "VideoLLM"]
Dtype = Literal["float32", "float16", "bfloat16"]


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
        self._llm = loaded.llm
        self.conv_mode = loaded.conv_mode

    def __enter__(self) -> VideoLLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the weights; what was answered stays, and nothing more can be asked."""
        for name in ("loaded", "towers", "_llm"):
            self.__dict__.pop(name, None)
        free_memory()

    def __repr__(self) -> str:
        if "towers" not in self.__dict__:
            return f"VideoLLM({shown(self.name)}, closed)"
        side, size = self.towers.side, self.towers.size
        return (
            f"VideoLLM({shown(self.name)}, frames of {size} px in {side}×{side} patches, "
            f"conv_mode={self.conv_mode!r}, device={str(self.towers.device)!r})"
        )

    @property
    def image_llm(self) -> ImageLLM:
        """The language model, for which visual tokens are built.

        Raises:
            ConfigError: the model makes its tokens itself, or is shown pictures.
        """
        if isinstance(self.token_llm, ImageLLM):
            return self.token_llm
        raise ConfigError(f"the visual tokens of {self.name} are its own, and selected")

    @property
    def token_llm(self) -> ImageLLM | SelectedTokensLLM:
        """The language model that is given visual tokens, built or selected.

        Raises:
            ConfigError: the model is shown pictures instead.
        """
        if isinstance(self._llm, ImageLLM | SelectedTokensLLM):
            return self._llm
        raise ConfigError(f"{self.name} is shown pictures: its visual tokens are its own affair")

    @property
    def language_model(self) -> LLM:
        """Whatever answers."""
        return self._llm

    @property
    def picture_llm(self) -> PictureLLM | None:
        """The model that is shown pictures; None where it is given visual tokens."""
        return None if isinstance(self._llm, ImageLLM | SelectedTokensLLM) else self._llm

    @classmethod
    @check_keywords
    def from_pretrained(
        cls,
        name: str | Path = "tiny",
        *,
        scorer: str | None = None,
        revision: str | None = None,
        dtype: Dtype | torch.dtype | None = None,
        device: str | None = None,
        device_map: str | dict[str, int | str] | None = None,
        load_in_8bit: bool = False,
        load_in_4bit: bool = False,
        rope_scaling_factor: float = 1.0,
        conv_mode: str | None = None,
        base_url: str | None = None,
        engine_url: str | None = None,
        engine: Literal["vllm"] | None = None,
        max_images: int | None = None,
        max_pixels: int | None = None,
        frames_as: FramesAs = "pictures",
        level: Level | None = None,
    ) -> VideoLLM:
        """Load a model by Hub id, folder (original LLaVA or transformers layout), or "tiny"; or
        name one behind a server, as in "openai:gpt-4o-mini", "ollama:qwen3-vl".

        Args:
            scorer, revision, dtype, device, device_map, load_in_8bit, load_in_4bit,
                rope_scaling_factor, conv_mode, base_url, engine_url, engine, max_images,
                max_pixels, frames_as, level: see `LoadOptions`.

        Raises:
            CheckpointError: it cannot be found or does not fit together.
            ConfigError: an option that cannot be met on this machine.
        """
        options = LoadOptions(
            scorer=scorer,
            revision=revision,
            dtype=dtype,
            device=device,
            device_map=device_map,
            load_in_8bit=load_in_8bit,
            load_in_4bit=load_in_4bit,
            rope_scaling_factor=rope_scaling_factor,
            conv_mode=conv_mode,
            base_url=base_url,
            engine_url=engine_url,
            engine=engine,
            max_images=max_images,
            max_pixels=max_pixels,
            frames_as=frames_as,
            level=level,
        )
        start = time.perf_counter()
        llm = cls(load(name, options))
        log.info("loaded %r in %.1f s", llm, time.perf_counter() - start)
        return llm

    @classmethod
    @check_keywords
    def for_frames(
        cls, scorer: str | None = None, *, dtype: Dtype | None = None, device: str | None = None
    ) -> VideoLLM:
        """A scorer alone, without a language model: its videos find frames (`Video.find`), and
        cannot be asked. Raises as `from_pretrained` does."""
        return cls(load_scorer(LoadOptions(scorer=scorer, dtype=dtype, device=device)))

    @check_keywords
    def watch(
        self,
        source: Source,
        *,
        frames: int = DEFAULT_FRAMES,
        fps: float | None = None,
        max_candidates: int = MOST_CANDIDATES,
        ranges: Sequence[tuple[float | str | None, float | str | None]] | None = None,
        search: float | None = None,
        subtitles: str | Path | Sequence[Line] | None = None,
        mode: Mode = "exact",
        rules: Rules = "corrected",
        resize: Resize | None = None,
        batch: int | None = None,
        cache: FeatureCache | None = None,
        plan: str | Plan | Sequence[Plan] | None = None,
        progress: Progress | None = None,
    ) -> Video:
        """Decode and encode a video once.

        Args:
            source: a video file, a folder of images, a bundled clip such as "sample:star", an
                address (`video/fetch.py`), bytes, an open file; pictures in memory (`Clip`); or
                `Frames` that were read before.
            frames: how many to sample, evenly (METHOD §1.1); a shorter clip gives what it has.
            fps: so many a second in the place of `frames`, at most `max_candidates`.
            ranges: stretches that frames are taken from, each a start and an end, in seconds or as
                "1:02:03"; None is an end of the video.
            search: of the frames at `fps` (1 where None), the share that is scored, such as 0.1:
                those that differ most from what is before them, then for each question those near
                the best. For hours, of which a question is about moments. `cache` is not used.
            subtitles: a .srt or .vtt file, "auto", the one beside the video or within it, "speech",
                written down by faster-whisper, or lines: what is said near the kept frames stands
                in the prompt, and guides which are kept.
            mode: "exact", or "keyframes" for files with long groups of pictures.
            rules: "released" for the positions and pixels of the paper's released code. A plan of
                those rules gets them by itself (`Video.for_plan`); here they save reading twice.
            resize: "bicubic" in the decoder, or "pil"; None takes the one that the rules need.
            batch: frames per pass of a tower; None sizes it to the memory that is free.
            cache: where the features are looked for, and kept. `Frames` are not cached.
            plan: what is going to be asked, one or several, if known. Where the LLM has a tower of
                its own, frames pass it when a plan first keeps them; a plan that keeps all has that
                done here, while the video is still being decoded. The answers are the same.
            progress: called with "fetch", "decode" or "encode", how much is done, and of how much.

        Raises:
            VideoError: the source gives no frames.
            ConfigError: an option has a value that is not allowed.
        """
        stretches = check_ranges(ranges)
        how: dict[str, Any] = {"count": frames, "rules": rules, "ranges": stretches}
        size = self.towers.size
        given = given_frames(source, size=size, fps=fps, most=max_candidates, **how)
        if given is not None:
            start = time.perf_counter()
            late = not any_keeps_all(plan, len(given))
            features = self.towers.encode(
                given.pixels, batch=batch, late=late, progress=named(progress, "encode")
            )
            return Video(self, given, features, 0.0, time.perf_counter() - start)
        path, fetched = locate(source, progress=named(progress, "fetch"))
        if search is not None:
            fps = fps or 1.0
        if fps is not None:
            frames = count_at(path, fps, most=max_candidates, ranges=stretches)
        reading = Reading(
            source=path,
            frames=frames,
            ranges=stretches,
            search=search,
            mode=mode,
            rules=rules,
            resize=resize,
            batch=batch,
            cache=cache,
            fetched=fetched,
            subtitles=_words_of(path, subtitles),
        )
        late = not any_keeps_all(plan, frames)
        video = Video.of(self, watch(reading, self.towers, late=late, progress=progress), reading)
        log.info(
            "watched %r: decode %.2f s, towers %.2f s%s", video, video.decode_seconds,
            video.encode_seconds, ", from the cache" * video.from_cache,
        )  # fmt: skip
        return video

    def load_video(self, path: str | Path) -> Video:
        """A video that `Video.save` wrote, to be asked about with this model.

        Raises:
            VideoError: the file cannot be read, or is none of these.
            ConfigError: its features are not of towers such as this model's.
        """
        frames, features = load_video(path)
        return self.attach(Video(None, frames, features, 0.0, 0.0, from_cache=True))

    def attach(self, video: Video) -> Video:
        """An unpickled video, to be asked about with this model.

        Raises:
            ConfigError: its features are not of towers such as this model's.
        """
        if not self.towers.made(video.features):
            raise ConfigError(
                f"{video!r} was encoded by other towers than those of {self.name!r}: watch it again"
            )
        video.features = self.towers.adopt(video.features, video.frames.pixels)
        video.llm = self
        return video

    @check_keywords
    def ask(
        self,
        questions: Sequence[tuple[Video, str]],
        *,
        plan: str | Plan = DEFAULT_PLAN,
        rules: Rules | None = None,
        options: Sequence[list[str] | tuple[str, ...]] | None = None,
        choose: Choose = "generate",
        blind: bool = False,
        conv_mode: str | None = None,
        prompt: str | None = None,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float | None = None,
        top_k: int | None = None,
        num_beams: int = 1,
        repetition_penalty: float | None = None,
        seed: int | None = None,
    ) -> list[Answer]:
        """Answer several questions, on one or several videos, in one batch.

        Args:
            questions: pairs of a watched video and a question.
            plan: a `Plan`, or text for `Plan.parse`.
            rules: "corrected" or "released", over the plan's own.
            options: for each question the choices of a multiple-choice question, or none.
            choose: among options, "generate" an answer, or take the most likely by the "letters" or
                by the "options" themselves, asked without the list (yes or no, say).
            blind: ask without anything of the video: what the model says from the words alone.
            conv_mode: prompt template by its name; the model's own where None.
            prompt: one of one's own in its place: a text with `{question}`, and where wanted
                `{options}` and `<image>`.
            max_new_tokens, temperature, top_p, top_k, num_beams, repetition_penalty, seed: see
                `Decoding`.

        Raises:
            PlanError: the plan cannot be read, or not be applied to a clip.
            ConfigError: a wrong option, or a prompt longer than the model holds.
            CheckpointError: the model's values are no numbers.
        """
        plan = resolve_plan(plan, rules)
        decoding = Decoding(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            num_beams=num_beams,
            repetition_penalty=repetition_penalty,
            seed=seed,
        )
        asked = [checked_pair(pair, Video) for pair in questions]
        choices = [check_options(c) for c in options] if options is not None else [()] * len(asked)
        if len(choices) != len(asked):
            raise ConfigError(f"{len(asked)} questions but {len(choices)} lists of options")
        check_choose(choose, choices)
        if not asked:
            return []
        if prompt is not None:
            if conv_mode is not None:
                raise ConfigError("a prompt is named by conv_mode, or given as prompt, not both")
            conv_mode = check_own(prompt)
        check_plan(self._llm, plan, conv_mode)
        ready = look(self.towers, [(v.for_plan(plan), q) for v, q in asked], choices, plan)
        if blind:
            ready = [replace(one, tokens=one.tokens.without()) for one in ready]
        answers = answer_all(
            self._llm,
            ready,
            plan,
            conv_mode=conv_mode or self.conv_mode,
            decoding=decoding,
            model=self.name,
            choose=choose,
        )
        for answer in answers:
            log.info("answered %r in %.2f s", answer, answer.timings.total)
        for note in [note for answer in answers for note in answer.warnings]:
            warnings.warn(note, stacklevel=3)
        return answers


def _words_of(
    path: str, subtitles: str | Path | Sequence[Line] | None
) -> str | Path | Sequence[Line] | None:
    """A file of subtitles, or the lines themselves, or none."""
    if not isinstance(subtitles, str):
        return subtitles
    if is_speech(subtitles):
        return written_down(path, subtitles)
    return find_subtitles(path) if subtitles == "auto" else subtitles
