"""The interface of a picture model: pictures with words between them go in, text comes out.

What every image LLM is whose visual tokens we do not build: a server, or a class of transformers
that takes a list of images. Knows nothing of videos, plans or evidence.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from free_video_llm.llm.generate import Decoding, Generation

#: Of the pictures that are sent.
JPEG_QUALITY = 90
#: Of one picture: what most models look at without cutting it up.
MAX_PIXELS = 768 * 768
_CHOOSE = "Answer with the letter of the best option alone."


@dataclass(frozen=True, eq=False)
class ChatPicture:
    """A picture for a chat model.

    Attributes:
        pixels: uint8 [height,width,3].
        words: what is said before it, such as its time. Never empty: some servers fuse two pictures
            that have no text between them (llama.cpp #24303, Ollama #17321).
    """

    pixels: npt.NDArray[np.uint8]
    words: str

    def __post_init__(self) -> None:
        if not self.words.strip():
            raise ValueError("a picture has words before it")

    def jpeg(self) -> bytes:
        """As a JPEG file's content."""
        from PIL import Image

        held = io.BytesIO()
        Image.fromarray(self.pixels).save(held, format="JPEG", quality=JPEG_QUALITY)
        return held.getvalue()


@dataclass(frozen=True)
class FrameTimes:
    """Which frames of a video some pictures are, for a server that reads them as one.

    Attributes:
        indices: of each picture, among the video's `total` frames; ascending.
        fps: frames of the video in a second: picture i is seen at indices[i] / fps.
    """

    indices: tuple[int, ...]
    total: int
    fps: float


@dataclass(frozen=True, eq=False)
class ChatRequest:
    """One question: pictures in the order in which they are seen, and what is asked at the end.

    With `times` the pictures are frames of one size that are sent as one video.
    """

    pictures: tuple[ChatPicture, ...]
    text: str
    times: FrameTimes | None = None


@dataclass(frozen=True, kw_only=True)
class PictureLimits:
    """What a picture model takes.

    Attributes:
        max_images: pictures of one question; None for as many as the plan keeps.
        max_pixels: of one picture.
        as_video: whether it is sent whole frames as one video, with their places in it: each as
            often as this says, 0 for pictures. Models that make one of every two neighbours
            (Qwen-VL) mix none that are far apart where each comes twice.
    """

    max_images: int | None = None
    max_pixels: int = MAX_PIXELS
    as_video: int = 0


class PictureLLM(Protocol):
    """A picture model.

    Attributes:
        limits: what it takes.
        identity: tells it from other models, for what a run is written down under.
    """

    limits: PictureLimits

    @property
    def identity(self) -> str: ...

    def reply(self, requests: Sequence[ChatRequest], decoding: Decoding) -> list[Generation]:
        """Answers in the order of the requests.

        Raises:
            ConfigError: decoding that it does not do, or a server that refuses.
        """
        ...


def question_text(question: str, options: Sequence[str] = ()) -> str:
    """What is asked at the end of the pictures.

    Examples:
        >>> print(question_text("Who wins?", ("cat", "dog")))
        Who wins?
        (A) cat
        (B) dog
        Answer with the letter of the best option alone.
    """
    if not options:
        return question
    listed = [f"({chr(ord('A') + i)}) {option}" for i, option in enumerate(options)]
    return "\n".join([question, *listed, _CHOOSE])


def stamp(second: float) -> str:
    """A time as models read it best.

    Examples:
        >>> stamp(7.26), stamp(75), stamp(3675.5)
        ('7.3 s', '75.0 s (1:15)', '3675.5 s (1:01:15)')
    """
    text = f"{second:.1f} s"
    if second < 60:
        return text
    minutes, seconds = divmod(int(second), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"{text} ({clock})"
