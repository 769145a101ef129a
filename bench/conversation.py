"""What a follow-up question costs: the pre-fill of each turn of a conversation, its keys and values
kept, beside computing all anew.

    python bench/conversation.py                # LLaVA-OneVision 0.5B's sizes, random weights
    python bench/conversation.py --size small   # to see that it runs
    python bench/conversation.py --size tiny --plan paper
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from free_video_llm import VideoLLM
from laptop import MODELS, write_clip

QUESTIONS = (
    "What is the man doing?",
    "What does he hold?",
    "Where is the woman?",
    "Is it day or night?",
    "Who leaves first?",
)
NEW_TOKENS = 16


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", choices=("full", "small", "tiny"), default="full")
    parser.add_argument("--plan", default="paper-small")
    options = parser.parse_args()
    build, full, small = MODELS["LLaVA-OneVision-0.5B"]
    if options.size == "tiny":
        llm = VideoLLM.from_pretrained("tiny")
    else:
        llm = build(full if options.size == "full" else small)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, 10)
        video = llm.watch(path)
    print("| look | turn | prompt, tokens | computed | pre-fill, s | ÷ first |")
    print("|---|---|---|---|---|---|")
    later = []
    for look, anew in (("once", False), ("again", False), ("once", True)):
        chat = video.chat(plan=options.plan, look=look, max_new_tokens=NEW_TOKENS)
        first = 0.0
        for number, question in enumerate(QUESTIONS, start=1):
            if anew:
                chat.forget()
            answer = chat.ask(question)
            seconds = answer.timings.prefill
            first = first or seconds
            if look == "once" and not anew and number > 1:
                later.append(seconds / first)
            name = f"{look}, all anew" if anew else look
            print(
                f"| {name} | {number} | {answer.prompt_tokens:,} | {chat.computed:,} | "
                f"{seconds:.3f} | {seconds / first:.3f} |"
            )
    print(f"\nlater turns ÷ first, the first one's frames kept: {statistics.median(later):.3f}")


if __name__ == "__main__":
    main()
