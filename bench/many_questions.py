"""Questions answered together by `tiny`, in one call of the language model, and one by one."""

from __future__ import annotations

from free_video_llm import VideoLLM
from free_video_llm.samples import find
from measure import Figure, interleaved

SECTION = "Questions together"
COUNT = 25
#: Asked of `tiny` in its own words; the answers are checked to be the same.
QUESTIONS = [
    f"What color is the {shape}?"
    for shape in ("star", "circle", "square", "triangle", "diamond", "ring", "moon")
] + [f"Is there a {color} star?" for color in ("red", "green", "blue", "yellow", "white")]


def figures(repeats: int) -> list[Figure]:
    """Two plans of different token counts."""
    llm = VideoLLM.from_pretrained("tiny")
    video = llm.watch(find("sample:star"))
    asked = [(video, QUESTIONS[n % len(QUESTIONS)]) for n in range(COUNT)]
    lines = []
    for plan, bound in (("prompt-3", 1.8), ("paper", 1.8)):

        def together(plan: str = plan) -> list[str]:
            return [answer.text for answer in llm.ask(asked, plan=plan)]

        def apart(plan: str = plan) -> list[str]:
            return [video.ask(question, plan=plan).text for _, question in asked]

        if together() != apart():
            raise SystemExit(f"{plan}: answers differ between together and one by one")
        times = interleaved(
            {"one by one": apart, "together": together}, repeats, what=f"together, {plan}"
        )
        tokens = len(video.ask(QUESTIONS[0], plan=plan).visual_tokens)
        lines.append(
            Figure(
                SECTION, f"{COUNT} questions in one call, `tiny`, {tokens:,} tokens each",
                *times.values(), bound=bound,
            )
        )  # fmt: skip
    return lines
