"""Tools for agents by the Model Context Protocol: the frames of a video that a question is about,
and, where a model is named, an answer. By the official SDK (extra `mcp`)."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from free_video_llm import __version__, samples
from free_video_llm.errors import ConfigError, FreeVideoLLMError, VideoError
from free_video_llm.llm.chat import MAX_PIXELS, PictureLimits
from free_video_llm.pipeline import Video, VideoLLM
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.show import pictures_of
from free_video_llm.video.fetch import is_address

#: Watched videos that are kept for further questions.
KEPT = 4
INSTRUCTIONS = """\
Looks into videos. `find_frames` gives the few frames of a video that a question is about, each
after its time in seconds: look at them, and ask again with other words, or with start and end, to
look closer. The question is compared with pictures, so name what is to be seen ("a dog runs along
the beach"), not what is meant ("the best part"). Of an hour or more, search=true looks at a tenth
of the frames first.
"""


class Watching:
    """Videos that were watched, by what was asked for; one is watched at a time."""

    def __init__(self, load: Callable[[], VideoLLM], folders: Sequence[Path]) -> None:
        self._load, self._folders = load, [folder.resolve() for folder in folders]
        self._llm: VideoLLM | None = None
        self._kept: OrderedDict[tuple[Any, ...], Video] = OrderedDict()
        self.lock = threading.Lock()

    def watch(
        self, video: str, start: str | None, end: str | None, fps: float | None, search: bool
    ) -> Video:
        """A video, or the stretch of it. Raises VideoError or ConfigError."""
        self._check(video)
        key = (video, start, end, fps, search)
        if key not in self._kept:
            if self._llm is None:
                self._llm = self._load()
            self._kept[key] = self._llm.watch(
                video,
                fps=fps,
                ranges=[(start, end)] if start or end else None,
                search=0.1 if search else None,
            )
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]

    def _check(self, video: str) -> None:
        if not self._folders or video.startswith(samples.PREFIX):
            return
        true = Path(video).resolve()
        if is_address(video) or not any(true.is_relative_to(f) for f in self._folders):
            raise VideoError("only files below the folders that the server was started with")


def build_server(
    load: Callable[[], VideoLLM],
    *,
    answers: bool = False,
    folders: Sequence[Path] = (),
    plan: str = "lean",
) -> MCPServer:
    """The server, without a transport.

    Args:
        load: makes the model, when it is first needed: with a language model where `answers`, else
            a scorer alone.
        answers: whether `ask_video` is offered.
        folders: below which videos may lie; none for anywhere.
        plan: where a call names none.
    """
    watching = Watching(load, folders)
    server: MCPServer[Any] = MCPServer(
        "free-video-llm", version=__version__, instructions=INSTRUCTIONS, log_level="ERROR"
    )

    @server.tool(structured_output=False)
    def find_frames(
        video: str,
        question: str,
        plan: str = plan,
        start: str | None = None,
        end: str | None = None,
        fps: float | None = None,
        search: bool = False,
        max_images: int = 8,
    ) -> list[Any]:
        """The frames of a video that a question is about, as pictures after their times, and a list
        of them as JSON: second, score (how like the question), region (left, top, right, bottom as
        shares of the frame).

        Args:
            video: a path, an https:// address, or sample:NAME.
            question: what is looked for, in words of what is to be seen.
            plan: "lean" (4 frames), "prompt-3", "long" (6 that differ), "global" (8 of the whole),
                or a notation.
            start, end: look only from here to there, in seconds or as 1:02:03.
            fps: frames a second that are looked at; else 50 evenly.
            search: look at a tenth first, for hours.
            max_images: pictures at most.
        """
        try:
            with watching.lock:
                chosen = resolve_plan(plan)
                seen = watching.watch(video, start, end, fps, search)
                evidence = seen.find(question, plan=chosen)
                limits = PictureLimits(max_images=max_images, max_pixels=MAX_PIXELS)
                pictures, notes = pictures_of(evidence, chosen, limits)
        except FreeVideoLLMError as error:
            raise ToolError(str(error)) from None
        content: list[Any] = []
        for picture in pictures:
            content += [picture.words, Image(data=picture.jpeg(), format="jpeg")]
        listed = [
            {
                "second": round(kept.second, 3),
                "score": round(kept.score, 4),
                "region": [round(edge, 4) for edge in kept.region],
            }
            for pathway in evidence.pathways
            for kept in pathway.kept
        ]
        about = {
            "duration_seconds": round(evidence.frames.duration, 3),
            "frames": listed,
            "notes": [*notes, *evidence.frames.warnings],
        }
        return [*content, json.dumps(about, ensure_ascii=False)]

    if answers:

        @server.tool(structured_output=False)
        def ask_video(
            video: str,
            question: str,
            options: list[str] | None = None,
            plan: str = plan,
            start: str | None = None,
            end: str | None = None,
            fps: float | None = None,
            search: bool = False,
        ) -> str:
            """The answer of a local model to a question about a video, with the seconds that it
            rests on, as JSON. Arguments as for find_frames; options are choices."""
            try:
                with watching.lock:
                    seen = watching.watch(video, start, end, fps, search)
                    answer = seen.ask(question, plan=plan, options=options or [])
            except FreeVideoLLMError as error:
                raise ToolError(str(error)) from None
            seconds = {round(k.second, 3) for p in answer.evidence.pathways for k in p.kept}
            found = {"answer": answer.text, "seconds": sorted(seconds), "model": answer.model}
            return json.dumps(found, ensure_ascii=False)

    return server


def check_folders(folders: Sequence[Path]) -> None:
    """Raise ConfigError for a folder that is none."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"--folder {folder}: there is no such folder")
