"""Models for lmms-eval: ours, and our frames before any other model of it.

    lmms-eval --model free_video_llm --model_args model=NAME,plan=lean --tasks videomme
    lmms-eval --model free_video_llm_frames --model_args inner=qwen2_5_vl,inner_pretrained=NAME

Found by the entry point `lmms_eval.models` where both packages are installed (docs/lmms-eval.md).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from loguru import logger
from PIL import Image
from tqdm import tqdm

from free_video_llm.answer import Answer
from free_video_llm.errors import ConfigError, described, one_of
from free_video_llm.integrations.lmms_requests import Asked, cut, read_request
from free_video_llm.llm.chat import MAX_PIXELS, PictureLimits
from free_video_llm.models.options import LoadOptions
from free_video_llm.pipeline import Video, VideoLLM
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.show import pictures_of

#: How a video is watched, by the name of `VideoLLM.watch`, and what makes it of a text.
_WATCHING: dict[str, Callable[[Any], Any]] = {
    "frames": int,
    "fps": float,
    "max_candidates": int,
    "search": float,
    "subtitles": str,
    "mode": str,
}
_LOADING = tuple(LoadOptions.__dataclass_fields__)
#: Given to every model by the harness.
_HARNESS = ("batch_size", "max_batch_size", "device")


def manifests() -> list[Any]:
    """What lmms-eval registers."""
    from lmms_eval.models.registry_v2 import ModelManifest

    here = "free_video_llm.integrations.lmms_eval"
    return [
        ModelManifest("free_video_llm", chat_class_path=f"{here}.FreeVideoLLM", aliases=("fvl",)),
        ModelManifest("free_video_llm_frames", chat_class_path=f"{here}.OurFrames"),
    ]


class _Watching(lmms):  # type: ignore[misc]
    """What both have in common: a model that watches videos, and how."""

    is_simple = False

    def __init__(self, llm: VideoLLM, plan: str, watching: dict[str, Any], batch_size: Any) -> None:
        super().__init__()
        self.llm, self.plan, self._watching_how = llm, resolve_plan(plan), watching
        self.batch_size_per_gpu = int(batch_size)

    @property
    def batch_size(self) -> int:
        """Questions that are answered together."""
        return self.batch_size_per_gpu

    def loglikelihood(self, requests: list[Instance]) -> Any:
        """Refused: tasks that generate are answered."""
        raise ConfigError("free_video_llm answers tasks of output_type generate_until")

    def generate_until_multi_round(self, requests: list[Instance]) -> Any:
        """Refused."""
        raise ConfigError("free_video_llm answers tasks of one round")

    def _groups(self, requests: Sequence[Instance]) -> Iterator[list[Asked]]:
        """The requests about the same frames together, videos in the order in which they come;
        what cannot be read is told, and left out."""
        groups: dict[Any, list[Asked]] = {}
        for place, request in enumerate(requests):
            try:
                asked = read_request(place, request.args, self.task_dict)
            except Exception as error:
                self._tell(f"{request.task_name}, document {request.doc_id}", error)
                continue
            groups.setdefault(asked.watched, []).append(asked)
        yield from groups.values()

    def _watch(self, asked: Asked) -> Video:
        source = asked.source if isinstance(asked.source, str) else list(asked.source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.llm.watch(
                source, ranges=asked.ranges or None, plan=self.plan, **self._watching_how
            )

    @staticmethod
    def _tell(what: str, error: Exception) -> None:
        logger.error(f"free_video_llm: {what}: {described(error)}")


class FreeVideoLLM(_Watching):
    """Our models behind lmms-eval's interface for chats.

    Args:
        model: a Hub id, a folder, "tiny", or one behind a server, as in "ollama:qwen3-vl".
        plan: a preset or a notation.
        batch_size: questions that are answered together.
        how: as in `VideoLLM.watch` (frames, fps, max_candidates, search, subtitles, mode) and
            `VideoLLM.from_pretrained` (scorer, dtype, base_url, …).

    Raises:
        ConfigError: an argument that is not known.
    """

    def __init__(
        self, model: str = "tiny", plan: str = "paper", batch_size: Any = 8, **how: Any
    ) -> None:
        watching, loading = _sorted_arguments(how)
        llm = VideoLLM.from_pretrained(model, **loading)
        super().__init__(llm, plan, watching, batch_size)

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """An answer for each request, in their order; an empty one where it failed, which is told.

        Every video is watched once for all questions about the same stretch of it.
        """
        found: list[GenerationResult] = [GenerationResult("") for _ in requests]
        failed = 0
        with tqdm(total=len(requests), desc="Model Responding", disable=self.rank != 0) as bar:
            for group in self._groups(requests):
                for asked, answer in self._answers(group):
                    if isinstance(answer, Exception):
                        failed += 1
                        self._tell(str(asked.source)[-200:], answer)
                    else:
                        found[asked.place] = _result(answer, asked)
                        self.cache_hook.add_partial(
                            "generate_until", asked.key, found[asked.place].text
                        )
                bar.update(len(group))
        if failed:
            logger.error(f"free_video_llm: {failed} of {len(requests)} were not answered")
        return found

    def _answers(self, group: list[Asked]) -> Iterator[tuple[Asked, Answer | Exception]]:
        """Each request with its answer, or why there is none."""
        try:
            video = self._watch(group[0])
        except Exception as error:
            yield from ((asked, error) for asked in group)
            return
        order = sorted(group, key=lambda asked: repr(asked.decoding))
        for _, same in itertools.groupby(order, key=lambda asked: repr(asked.decoding)):
            for some in _batched(list(same), self.batch_size):
                yield from self._ask(video, some)

    def _ask(self, video: Video, some: list[Asked]) -> Iterator[tuple[Asked, Answer | Exception]]:
        decoding = some[0].decoding
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answers = self.llm.ask(
                    [(video, asked.text) for asked in some],
                    plan=self.plan,
                    max_new_tokens=decoding.max_new_tokens,
                    temperature=decoding.temperature,
                    top_p=decoding.top_p,
                    num_beams=decoding.num_beams,
                )
            yield from zip(some, answers, strict=True)
        except Exception as error:
            if len(some) == 1:
                yield some[0], error
            else:  # so that each one's failure stays its own
                for one in some:
                    yield from self._ask(video, [one])


class OurFrames(_Watching):
    """Our choice of frames before another model of lmms-eval: it is shown the kept frames and
    regions as pictures, each after its time, in the place of the video.

    Args:
        inner: the other model's name; what begins with `inner_` among the arguments is for it.
        plan: a preset or a notation.
        scorer: the model that scores frames; "openai/clip-vit-base-patch32" where None.
        max_images, max_pixels: of the pictures.

    Raises:
        ConfigError: an argument that is not known, or no other model is named.
    """

    def __init__(
        self,
        inner: str = "",
        plan: str = "lean",
        scorer: str | None = None,
        max_images: int | None = None,
        max_pixels: int | None = None,
        batch_size: Any = 1,
        **how: Any,
    ) -> None:
        from lmms_eval.models import get_model

        if not inner:
            raise ConfigError("inner= names the model of lmms-eval that is shown our frames")
        given = {k.removeprefix("inner_"): v for k, v in how.items() if k.startswith("inner_")}
        watching, loading = _sorted_arguments(
            {k: v for k, v in how.items() if not k.startswith("inner_")}
        )
        allowed = {key: loading[key] for key in ("dtype", "device") if loading.get(key)}
        super().__init__(VideoLLM.for_frames(scorer, **allowed), plan, watching, batch_size)
        self._limits = PictureLimits(max_images=max_images, max_pixels=max_pixels or MAX_PIXELS)
        self.inner: lmms = get_model(inner)(batch_size=batch_size, **given)

    def generate_until(self, requests: list[Instance]) -> list[Any]:
        """The other model's answers to the same questions about the kept frames."""
        self.inner.task_dict = self.task_dict
        shown: list[Instance] = list(requests)
        for group in self._groups(requests):
            try:
                video = self._watch(group[0])
            except Exception as error:  # the other model gets the video, and says what it can
                self._tell(str(group[0].source)[-200:], error)
                continue
            for asked in group:
                try:
                    content = self._content(video, asked)
                except Exception as error:
                    self._tell(str(asked.source)[-200:], error)
                else:
                    shown[asked.place] = self._with(requests[asked.place], content)
        answers: list[Any] = self.inner.generate_until(shown)
        return answers

    def _content(self, video: Video, asked: Asked) -> list[dict[str, Any]]:
        """The parts of a message: each picture after its time, the question last."""
        evidence = video.find(asked.text, plan=self.plan)
        pictures, _ = pictures_of(evidence, self.plan, self._limits)
        parts: list[dict[str, Any]] = []
        for picture in pictures:
            parts.append({"type": "text", "text": picture.words})
            parts.append({"type": "image", "url": Image.fromarray(picture.pixels)})
        return [*parts, {"type": "text", "text": asked.text}]

    def _with(self, request: Instance, content: list[dict[str, Any]]) -> Instance:
        """A request whose messages are these, in the form that the other model takes."""
        context, _, how, document, task, split = request.args
        arguments: tuple[Any, ...]
        if self.inner.is_simple:
            pictures = [part["url"] for part in content if part["type"] == "image"]
            arguments = (context, how, lambda _: pictures, document, task, split)
        else:
            messages = [{"role": "user", "content": content}]
            arguments = (context, lambda _: messages, how, document, task, split)
        return replace(request, arguments=arguments)


def _batched(items: list[Asked], size: int) -> Iterator[list[Asked]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _result(answer: Answer, asked: Asked) -> GenerationResult:
    written = answer.answer_tokens or len(answer.token_ids)
    counts = TokenCounts(input_tokens=answer.prompt_tokens, output_tokens=written)
    return GenerationResult(cut(answer.text, asked.until), counts)


def _sorted_arguments(how: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those for watching and those for loading. Raises ConfigError for any other."""
    watching: dict[str, Any] = {}
    loading: dict[str, Any] = {}
    for name, value in how.items():
        if name in _WATCHING:
            watching[name] = _WATCHING[name](value)
        elif name in _LOADING:
            loading[name] = value
        elif name not in _HARNESS:
            one_of("model_args", name, ["model", "plan", *_WATCHING, *_LOADING], ConfigError)
    return watching, loading
