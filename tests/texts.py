"""Texts that are long, or in scripts that need other fonts, for what is drawn."""

LONG = (
    "Considering everything that happens from the beginning until the very end of this clip, what "
    "does the person who wears the yellow shirt do right after the two others have left the room, "
    "and why do they do it?"
)
CHINESE = "在这段视频里穿红色衬衫的男人在做什么，接下来又会发生什么事情？" * 4
ARABIC = "ماذا يفعل الرجل الذي يرتدي القميص الأحمر في هذا الفيديو، ولماذا يفعل ذلك؟ " * 3
EMOJI = "Who wins? 😀🚣🏽‍♂️👍️ " * 12
