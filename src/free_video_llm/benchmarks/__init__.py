"""Question sets: where the questions are, what they look like, where their videos lie.

Knows nothing of models, runs or judges. Another set is one class and one line of registration
(docs/question-sets.md).
"""

from __future__ import annotations

from free_video_llm.benchmarks import sets  # registers ours

# isort: split
from free_video_llm.benchmarks import hub_sets  # registers those of the Hub after them
from free_video_llm.benchmarks.base import Question, QuestionSet
from free_video_llm.benchmarks.read import read_questions
from free_video_llm.benchmarks.registry import SETS, get_set, register, unregister

__all__ = [
    "SETS", "Question", "QuestionSet", "get_set", "hub_sets", "read_questions", "register", "sets",
    "unregister",
]  # fmt: skip
