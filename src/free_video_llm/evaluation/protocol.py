"""The judge's protocol (METHOD §5): what it is told, and the one form of reply that is accepted.

A reply is matched against a grammar; nothing of it is evaluated. Knows nothing of servers.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

#: A verdict is some thirty characters; what is longer is none.
MOST_CHARACTERS = 2000

_ENTRY = r"""(?:["'](?:pred|score)["'])\s*:\s*(?:["'](?:yes|no)["']|[0-9](?:\.[0-9]{1,9})?)"""
_REPLY = re.compile(rf"\s*\{{\s*({_ENTRY})\s*,\s*({_ENTRY})\s*,?\s*\}}\s*", re.IGNORECASE)
_FENCE = re.compile(r"\s*```(?:json|python)?\n(.*?)\n?```\s*", re.DOTALL | re.IGNORECASE)
_PRED = re.compile(r"""(["'])pred\1\s*:\s*(["'])(yes|no)\2""", re.IGNORECASE)
_SCORE = re.compile(r"""(["'])score\1\s*:\s*([0-9](?:\.[0-9]+)?)""", re.IGNORECASE)

#: For servers that hold a reply to a schema.
REPLY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "pred": {"type": "string", "enum": ["yes", "no"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 5},
    },
    "required": ["pred", "score"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Verdict:
    """What a judge said: whether the answers match, and how well, 0 to 5."""

    yes: bool
    score: float


@lru_cache(maxsize=1)
def _protocol() -> dict[str, Any]:
    text = files("free_video_llm.evaluation").joinpath("judge_protocol.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def protocol_hash() -> str:
    """Names the exact wording."""
    data = _protocol()
    return hashlib.sha256((data["system"] + "\0" + data["user"]).encode()).hexdigest()[:16]


def messages(question: str, answer: str, prediction: str) -> list[dict[str, str]]:
    """What the judge is told, in the field's exact words."""
    data = _protocol()
    pieces = data["user"].split("%s")
    values = (question, answer, prediction, "")
    user = "".join(piece + value for piece, value in zip(pieces, values, strict=True))
    return [{"role": "system", "content": data["system"]}, {"role": "user", "content": user}]


def read_verdict(reply: str) -> Verdict | str:
    """The verdict of a reply, or what is wrong with it.

    Accepted is JSON or the released dict form with exactly the keys 'pred' ('yes' or 'no') and
    'score' (a number from 0 to 5, not a text), alone or in a code fence.

    Examples:
        >>> read_verdict("{'pred': 'yes', 'score': 4}")
        Verdict(yes=True, score=4.0)
        >>> read_verdict('{"pred": "yes", "score": 9}')
        'the score 9 is not between 0 and 5'
    """
    if len(reply) > MOST_CHARACTERS:
        return f"the reply is {len(reply)} characters long"
    fenced = _FENCE.fullmatch(reply)
    body = fenced[1] if fenced else reply
    match = _REPLY.fullmatch(body)
    if match is None:
        return "the reply is not {'pred': 'yes' or 'no', 'score': 0 to 5}"
    pred = [m for entry in match.groups() if (m := _PRED.fullmatch(entry))]
    score = [m for entry in match.groups() if (m := _SCORE.fullmatch(entry))]
    if len(pred) != 1 or len(score) != 1:
        return "the reply does not have one 'pred' (yes or no) and one 'score' (a number)"
    value = float(score[0][2])
    if value > 5:
        return f"the score {score[0][2]} is not between 0 and 5"
    return Verdict(pred[0][3].lower() == "yes", value)
