"""What a visitor may send: the size and length of a clip, the question, the frames, the tokens.

Knows nothing of the page; each check raises an error of one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from free_video_llm.errors import ConfigError, VideoError, shown
from free_video_llm.plans.plan import Plan
from free_video_llm.video.ranges import TimeRange, check_ranges
from free_video_llm.video.read import VideoInfo, probe

MOST_OPTIONS = 12
MOST_PLANS = 6
#: New tokens of an answer: what the page asks the model for.
ANSWER_TOKENS = 128


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds that the server's owner sets.

    Attributes:
        file_bytes: of one clip.
        clip_seconds: length of a clip.
        frames: the most that may be sampled of a clip.
        queue: questions that may wait; more are refused.
        sessions: visitors whose clips are kept at a time; beyond, the longest idle one's go. As
            many more may have none.
        memory_bytes: watched videos of all visitors together; beyond, the longest unused go.
        idle_seconds: after which a session's clip is deleted, though its page is still open.
        stall_seconds: longest time in which nothing of a request arrives.
        question_letters: of a question, and of all its options together.
        plan_letters: of a plan's notation.
        fetches: whether clips are fetched from addresses that visitors give.
    """

    file_bytes: int = 200_000_000
    clip_seconds: float = 600.0
    frames: int = 200
    queue: int = 16
    sessions: int = 50
    memory_bytes: int = 2_000_000_000
    idle_seconds: float = 3600.0
    stall_seconds: float = 30.0
    question_letters: int = 1000
    plan_letters: int = 500
    fetches: bool = True

    @property
    def upload_bytes(self) -> int:
        """Room on disk for all visitors' files together."""
        return 20 * self.file_bytes


def check_clip(path: Path, name: str, limits: Limits) -> VideoInfo:
    """What a clip is, if it may be asked about.

    Raises:
        VideoError: it is too large, too long, or gives no frame; the clip is called `name`.
    """
    try:
        size = path.stat().st_size
    except OSError:
        raise VideoError(f"{name} is no longer on the server: choose it again") from None
    if size > limits.file_bytes:
        raise VideoError(
            f"{name} is {megabytes(size)}; at most {megabytes(limits.file_bytes)} are allowed: "
            "choose a smaller file, or cut or compress this one"
        )
    try:
        info = probe(path)
    except VideoError as error:
        raise VideoError(without_path(str(error), path, name)) from None
    check_length(info.duration, name, limits)
    return info


def check_length(seconds: float, name: str, limits: Limits) -> None:
    """Raise VideoError where a clip is longer than allowed."""
    if seconds > limits.clip_seconds:
        raise VideoError(
            f"{name} is {length(seconds)} long; at most {length(limits.clip_seconds)} are "
            "allowed: cut out the part that you want to ask about"
        )


def check_question(question: str, options: Sequence[str], limits: Limits) -> None:
    """Raise ConfigError where a question is empty or too long, or its options do not do."""
    if not question.strip():
        raise ConfigError("the question is empty: write one, such as “What color is the star?”")
    letters = len(question) + sum(len(option) for option in options)
    if letters > limits.question_letters:
        raise ConfigError(
            f"the question with its choices has {letters:,} letters; at most "
            f"{limits.question_letters:,} are allowed: shorten it"
        )
    if len(options) == 1 or len(options) > MOST_OPTIONS:
        raise ConfigError(
            f"a question with choices has 2 to {MOST_OPTIONS} of them, one on each line, "
            f"not {len(options)}"
        )


def check_frames(frames: float, limits: Limits) -> int:
    """The number of frames to sample, if it may be. Raises ConfigError otherwise."""
    number = isinstance(frames, int | float) and not isinstance(frames, bool)
    if not number or not 1 <= frames <= limits.frames or frames != int(frames):
        raise ConfigError(
            f"frames are a whole number from 1 to {limits.frames}, not {shown(frames)}"
        )
    return int(frames)


def check_stretch(start: str, end: str) -> tuple[TimeRange, ...]:
    """The stretch between two times as people write them, empty for an end of the clip; none is the
    whole clip. Raises ConfigError."""
    if not start.strip() and not end.strip():
        return ()
    return check_ranges([(start.strip() or None, end.strip() or None)])


def check_plan(text: str, limits: Limits) -> str:
    """A plan's name or notation, if it is no longer than allowed. Raises ConfigError otherwise."""
    if len(text) > limits.plan_letters:
        raise ConfigError(
            f"the plan has {len(text):,} letters; at most {limits.plan_letters} are allowed: give "
            "its pathways shorter names"
        )
    return text


def check_tokens(plan: Plan, *, frames: int, side: int, positions: int) -> None:
    """Raise ConfigError where a plan makes more tokens than the model holds, before it is tried."""
    tokens = plan.count_tokens(frames=frames, side=side)
    if tokens + ANSWER_TOKENS > positions:
        raise ConfigError(
            f"plan {plan.name or plan} makes {tokens:,} tokens of {frames} frames, and the model "
            f"holds {positions:,} in all: choose a smaller plan or fewer frames"
        )


def without_path(text: str, path: Path, name: str) -> str:
    """A sentence in which a file goes by its name: where the server keeps it is its own affair."""
    return text.replace(str(path), name)


def megabytes(size: float) -> str:
    """As in "200 MB", "1.5 MB"."""
    value = size / 1e6
    return f"{value:,.0f} MB" if value >= 10 else f"{value:.1f} MB"


def length(seconds: float) -> str:
    """As in "45 s", "10 min", "12:30 min".

    Examples:
        >>> length(45), length(600), length(750)
        ('45 s', '10 min', '12:30 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{minutes}:{rest:02d} min" if rest else f"{minutes} min"
