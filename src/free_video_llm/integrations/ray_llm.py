"""Before Ray Data LLM: which frames of each row's video a model is to see, as a chat's messages.

Ray Data LLM batches prompts over a cluster, by vLLM or any OpenAI-compatible server, and samples
videos blindly. `ChooseFrames` is what stands before it: `data.map_batches(ChooseFrames, …)`.
docs/servers.md has the whole pipeline, deploy/ray_llm.py is one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from free_video_llm.errors import ConfigError, FreeVideoLLMError
from free_video_llm.llm.chat import MAX_PIXELS, ChatRequest, PictureLimits, question_text
from free_video_llm.llm.openai_chat import parts_of
from free_video_llm.pipeline import VideoLLM
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.show import pictures_of

Batch = Mapping[str, Any]


class ChooseFrames:
    """A callable class for `Dataset.map_batches`: rows with `video` (a path, an address or another
    source) and `question`, and where wanted `options` (a list) and `start`, `end` (seconds).

    They get `messages`, the JSON of a chat's messages with the kept frames and regions as JPEGs
    after their times; `seconds`, the JSON of when those were; and `error`, "" or why a row has none
    (its `messages` are "" then: filter by it).

    Args:
        scorer: CLIP or SigLIP model that chooses; a small one where None.
        plan: preset or notation.
        watch: for `VideoLLM.watch`, as in {"fps": 1.0} or {"search": 0.1}.
        max_images, max_pixels: of a question's pictures.
        device: of the scorer.

    Raises:
        PlanError: no such plan.
        CheckpointError: the scorer cannot be had.
    """

    def __init__(
        self,
        *,
        scorer: str | None = None,
        plan: str = "lean",
        watch: Mapping[str, Any] | None = None,
        max_images: int | None = None,
        max_pixels: int = MAX_PIXELS,
        device: str | None = None,
    ) -> None:
        self._plan = resolve_plan(plan)
        self._watch = dict(watch or {})
        self._limits = PictureLimits(max_images=max_images, max_pixels=max_pixels)
        self._llm = VideoLLM.for_frames(scorer, device=device)
        self._last: tuple[Any, Any] = (None, None)

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """Columns of a batch in, the same and three more out; rows that follow each other on one
        video share its decoding and encoding."""
        for name in ("video", "question"):
            if name not in batch:
                raise ConfigError(f"rows need a column {name}, these have {', '.join(batch)}")
        rows = [dict(zip(batch, values)) for values in zip(*batch.values())]
        found = [self._row(row) for row in rows]
        return {**batch, **{name: [row[name] for row in found] for name in found[0]}}

    def _row(self, row: Mapping[str, Any]) -> dict[str, str]:
        options = row.get("options")
        options = () if options is None else tuple(str(option) for option in options)
        try:
            video = self._watched(str(row["video"]), row.get("start"), row.get("end"))
            evidence = video.find(str(row["question"]), plan=self._plan)
            pictures, _ = pictures_of(evidence, self._plan, self._limits)
        except FreeVideoLLMError as error:
            return {"messages": "", "seconds": "[]", "error": str(error)}
        request = ChatRequest(pictures, question_text(str(row["question"]), options))
        messages = [{"role": "user", "content": parts_of(request)}]
        kept = sorted({round(k.second, 3) for part in evidence.pathways for k in part.kept})
        return {"messages": json.dumps(messages), "seconds": json.dumps(kept), "error": ""}

    def _watched(self, source: str, start: Any, end: Any) -> Any:
        key = (source, _second(start), _second(end))
        if self._last[0] != key:
            ranges = None if key[1:] == (None, None) else [key[1:]]
            self._last = (key, self._llm.watch(source, ranges=ranges, **self._watch))
        return self._last[1]


def _second(value: Any) -> float | None:
    """A number of seconds; a table's holes are None or NaN."""
    number = None if value is None else float(value)
    return None if number is None or number != number else number
