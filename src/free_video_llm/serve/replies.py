"""Answers in OpenAI's form: a chat completion, or the pieces of one."""

from __future__ import annotations

import json
import time
from typing import Any

from free_video_llm.answer import Answer
from free_video_llm.serve.calls import Call
from free_video_llm.serve.engine import Answered


def completion(call: Call, answered: Answered, *, name: str) -> dict[str, Any]:
    """The whole reply; `name` is the request's."""
    answer = answered.answer
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": call.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": finish_of(call, answer),
                "logprobs": None,
            }
        ],
        "usage": usage_of(answer),
        "fvl": about(call, answered),
    }


def chunk(
    call: Call, *, name: str, delta: dict[str, Any], finish: str | None = None, **more: Any
) -> str:
    """One event of a stream."""
    body = {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": call.model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}],
        **more,
    }
    return event(body)


def last_chunk(call: Call, answered: Answered, *, name: str) -> str:
    """The event with the usage, which has no choice."""
    body = {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": call.model,
        "choices": [],
        "usage": usage_of(answered.answer),
    }
    return event(body)


def event(body: dict[str, Any]) -> str:
    """A body as one server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def finish_of(call: Call, answer: Answer) -> str:
    """Why an answer ended."""
    full = len(answer.token_ids) >= call.decoding.max_new_tokens
    return "length" if full and not answer.probabilities else "stop"


def usage_of(answer: Answer) -> dict[str, Any]:
    """Tokens of the prompt (visual ones among them), of those visual, and of the answer; and what a
    server behind this one says that it cost."""
    written = answer.answer_tokens or len(answer.token_ids)
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": answer.prompt_tokens + written,
        "visual_tokens": 0 if answer.pictures else len(answer.visual_tokens),
        **({} if answer.cost is None else {"cost": answer.cost}),
    }


def about(call: Call, answered: Answered) -> dict[str, Any]:
    """What the answer rests on: the times of the frames that were chosen (of all, where all were
    looked at alike); with evidence all of it, where the call asks for that."""
    answer = answered.answer
    parts, every = answer.evidence.pathways, len(answer.evidence.frames)
    chosen = [part for part in parts if len(part.kept) < every] or list(parts)
    found: dict[str, Any] = {
        "plan": str(answer.plan.name or answer.plan),
        "kept_seconds": sorted({round(kept.second, 3) for part in chosen for kept in part.kept}),
        "pictures": len(answer.pictures),
        "probabilities": list(answer.probabilities),
        "warnings": list(answer.warnings),
        "watched_before": answered.known,
        "answered_together": answered.together,
    }
    if call.evidence:
        whole = answer.to_dict()
        whole["evidence"].pop("source")  # a path of the server's own
        found["evidence"], found["timings"] = whole["evidence"], whole["timings"]
    return found
