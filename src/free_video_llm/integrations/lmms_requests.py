"""What lmms-eval asks, taken apart: which video or pictures, which stretch, which words.

Written against lmms-eval 0.7.3 (docs/lmms-eval.md). Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from free_video_llm.errors import ConfigError, shown
from free_video_llm.llm.generate import Decoding
from free_video_llm.video.ranges import TimeRange, check_ranges

#: New tokens of an answer where a task does not say.
MOST_TOKENS = 128


@dataclass(frozen=True, eq=False)
class Asked:
    """One request.

    Attributes:
        place: among the requests.
        source: a video's path, or pictures in their order.
        ranges: the stretch that it is about, or none.
        text: all texts of its messages, in order.
        decoding, until: how it is answered, and what ends an answer.
        key: what the harness knows it by in its cache.
    """

    place: int
    source: str | tuple[Image.Image, ...]
    ranges: tuple[TimeRange, ...]
    text: str
    decoding: Decoding
    until: tuple[str, ...]
    key: tuple[Any, ...]

    @property
    def watched(self) -> tuple[Any, ...]:
        """The same for requests about the same frames."""
        source = self.source if isinstance(self.source, str) else tuple(map(id, self.source))
        return source, self.ranges


def read_request(place: int, arguments: tuple[Any, ...], documents: Mapping[str, Any]) -> Asked:
    """A chat request's arguments: (ctx, doc_to_messages, gen_kwargs, doc_id, task, split).

    Args:
        documents: of every task and split, as the harness gives them.

    Raises:
        ConfigError: there is no video and no picture in it, or more than one video.
    """
    context, to_messages, how, document, task, split = arguments
    messages = to_messages(documents[task][split][document])
    videos: list[Mapping[str, Any]] = []
    pictures: list[Any] = []
    texts: list[str] = []
    for message in messages:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                texts.append(part["text"])
            elif part["type"] == "video":
                videos.append(part)
            elif part["type"] == "image":
                pictures.append(part["url"])
    text = "\n".join(filter(None, texts)).strip()
    decoding, until = _decoding(how)
    key = (context, how)
    if len(videos) == 1 and not pictures:
        video = videos[0]
        bounds = (video.get("start_time"), video.get("end_time"))
        ranges = check_ranges([bounds]) if bounds != (None, None) else ()
        source = video["url"]
        if isinstance(source, list | tuple):  # frames that the task has taken itself
            return Asked(place, tuple(source), (), text, decoding, until, key)
        if not isinstance(source, str | Path):
            raise ConfigError(f"a video is a path here, not {shown(source)}")
        return Asked(place, str(source), ranges, text, decoding, until, key)
    if pictures and not videos:
        return Asked(place, tuple(pictures), (), text, decoding, until, key)
    raise ConfigError(
        f"document {document} of {task} has {len(videos)} videos and {len(pictures)} pictures: one "
        "video, or pictures, can be asked about"
    )


def _decoding(how: Mapping[str, Any]) -> tuple[Decoding, tuple[str, ...]]:
    """What of a task's generation settings is known here; sampling only where it is asked for."""
    warm = bool(how.get("do_sample")) and bool(how.get("temperature"))
    until: Sequence[str] | str = how.get("until") or ()
    decoding = Decoding(
        max_new_tokens=int(how.get("max_new_tokens") or MOST_TOKENS),
        temperature=float(how["temperature"]) if warm else 0.0,
        top_p=how.get("top_p") if warm else None,
        num_beams=int(how.get("num_beams") or 1),
    )
    return decoding, (until,) if isinstance(until, str) else tuple(until)


def cut(text: str, until: Sequence[str]) -> str:
    """An answer up to the first of what ends it.

    Examples:
        >>> cut("red\\n\\nblue", ["\\n\\n"])
        'red'
    """
    for end in until:
        if end:
            text = text.split(end, 1)[0]
    return text.strip()
