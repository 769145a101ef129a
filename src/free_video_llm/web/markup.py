"""Small pieces of HTML: notices, errors, progress, the answer, the table of a comparison.

Whatever a visitor or a model wrote is escaped here; nothing is worked out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from free_video_llm.picture import captions
from free_video_llm.picture.styles import Mark, marks_for
from free_video_llm.web.limits import length

if TYPE_CHECKING:
    from free_video_llm.answer import Answer
    from free_video_llm.plans.plan import Plan
    from free_video_llm.web.service import Reply
    from free_video_llm.web.sessions import Asked, Clip

#: What is done, in the order in which it is done.
STEPS = {
    "wait": "Waiting for the model",
    "load": "Loading the model",
    "decode": "Reading frames",
    "encode": "Looking at frames",
    "answer": "Answering",
}
#: Marker shapes by matplotlib's names, drawn in a square of 12 × 12.
_SHAPES = {
    "^": '<polygon points="6,1 11.5,11 .5,11"/>',
    "v": '<polygon points=".5,1 11.5,1 6,11"/>',
    "o": '<circle cx="6" cy="6" r="5"/>',
    "s": '<rect x="1.5" y="1.5" width="9" height="9"/>',
    "D": '<polygon points="6,.3 11.7,6 6,11.7 .3,6"/>',
    "P": '<path d="M4 .5h4V4h3.5v4H8v3.5H4V8H.5V4H4z"/>',
    "X": '<path d="M4 .5h4V4h3.5v4H8v3.5H4V8H.5V4H4z" transform="rotate(45 6 6)"/>',
}

TINY_NOTICE = (
    "<b>tiny knows only its own world:</b> eight shapes in eight colours on dark backgrounds. "
    "Asked about anything else, it will still say something about shapes. The examples are of its "
    "world; for videos of the real one, choose another model."
)


def glyph(mark: Mark) -> str:
    """A pathway's mark."""
    return (
        f'<svg class="fvl-glyph" viewBox="0 0 12 12" aria-hidden="true" fill="{mark.color}">'
        f"{_SHAPES[mark.shape]}</svg>"
    )


def notice(model: str) -> str:
    """What must be said of a model; nothing for most."""
    return f'<p class="fvl-notice">{TINY_NOTICE}</p>' if model == "tiny" else ""


def sentence(text: str) -> str:
    """An error's line as a sentence: a capital letter, unless it begins with a name, and a stop.

    Examples:
        >>> sentence("the question is empty"), sentence("clip.mp4 is too long.")
        ('The question is empty.', 'clip.mp4 is too long.')
    """
    text = " ".join(text.split())
    first = text.partition(" ")[0]
    if first.isalpha():
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def error(text: str) -> str:
    """An error for the user."""
    said = escape(sentence(text))
    return f'<p class="fvl-error" data-say="{said}"><b>That did not work.</b> {said}</p>'


def progress(steps: Mapping[str, tuple[int, int]]) -> str:
    """How far each step is; a bar for each that is counted."""
    rows, say = [], STEPS["wait"]
    for step, words in STEPS.items():
        if step not in steps or (step == "wait" and len(steps) > 1):
            continue
        done, total = steps[step]
        say = words
        if total > 1:
            rows.append(
                f"<div><span>{words} {done} of {total}</span>"
                f'<progress max="{total}" value="{done}" aria-label="{words}"></progress></div>'
            )
        else:
            rows.append(
                f'<div><span>{words}…</span><progress aria-label="{words}"></progress></div>'
            )
    return f'<div class="fvl-progress" data-say="{say}">{"".join(rows)}</div>'


def clip_facts(clip: Clip | None) -> str:
    """A chosen clip's name and size."""
    if clip is None:
        return ""
    name = f"example “{clip.sample}”" if clip.sample else clip.name
    long = f"{length(clip.seconds)}, " if clip.seconds > 0 else ""  # a recording does not say
    return (
        f'<p class="fvl-facts" data-say="Clip ready"><b><bdi>{escape(name)}</bdi></b> '
        f"{long}{clip.width}×{clip.height}</p>"
    )


def plan_facts(plan: Plan, summary: str, *, frames: int, side: int | None) -> str:
    """What a plan keeps, and its tokens where the model's grid is known."""
    tokens = ""
    if side is not None:
        count, whole = plan.count_tokens(frames=frames, side=side), frames * side * side
        tokens = f" <b>{count:,}</b> of {whole:,} tokens."
    return f'<p class="fvl-facts">{escape(sentence(summary))}{tokens}</p>'


def answer_card(reply: Reply) -> str:
    """Question, answer, and what it cost."""
    answer = reply.answers[0]
    return (
        f'<div class="fvl-answer" data-encoded="{str(reply.watched).lower()}" '
        f'data-seconds="{spent(reply):.4f}">'
        f'<p class="fvl-label">Question</p><p class="fvl-question" dir="auto">'
        f"{escape(answer.question)}</p>{choices(answer)}"
        f'<p class="fvl-label">Answer</p>{said(answer)}'
        f'<p class="fvl-cost">{cost(reply)}</p>{notes(answer)}</div>'
    )


def said(answer: Answer) -> str:
    """The model's words."""
    if not answer.text.strip():
        return '<p class="fvl-said fvl-silent">the model said nothing</p>'
    long = " fvl-long" if len(answer.text) > 120 else ""
    return f'<p class="fvl-said{long}" dir="auto">{escape(answer.text)}</p>'


def choices(answer: Answer) -> str:
    """What there was to choose from."""
    if not answer.options:
        return ""
    rows = "".join(f'<li dir="auto">{escape(option)}</li>' for option in answer.options)
    return f'<ol class="fvl-choices" type="A">{rows}</ol>'


def spent(reply: Reply) -> float:
    """Seconds of asking, and of watching if this question was the one that needed it."""
    answer = reply.answers[0]
    asking = sum(captions.asking_seconds(a) for a in reply.answers)
    watching = answer.timings.decode + answer.timings.encode if reply.watched else 0.0
    return asking + watching


def cost(reply: Reply) -> str:
    """What the reply took, in words."""
    answer = reply.answers[0]
    asking = captions.seconds(sum(captions.asking_seconds(a) for a in reply.answers))
    watching = captions.seconds(answer.timings.decode + answer.timings.encode)
    if reply.watched:
        return f"Watched in {watching}, once for all questions; answered in {asking}."
    return f"Answered in {asking}; the clip was watched before ({watching})."


def notes(answer: Answer) -> str:
    """What the user should know of the answer."""
    rows = "".join(f"<li>{escape(sentence(note))}</li>" for note in answer.warnings)
    return f'<ul class="fvl-notes">{rows}</ul>' if rows else ""


def tokens(answer: Answer) -> str:
    """The tokens that each pathway gave, as a bar and in words."""
    evidence = answer.evidence
    marks = marks_for(part.name for part in evidence.pathways)
    whole = max(evidence.all_tokens, evidence.tokens, 1)
    bar, rows = [], []
    for part in evidence.pathways:
        mark = marks[part.name]
        share = 100 * part.tokens / whole
        bar.append(f'<i style="width:{share:.3f}%;background:{mark.color}"></i>')
        detail = ", ".join(filter(None, (captions.per_frame(part), captions.how(answer, part))))
        rows.append(
            f'<li>{glyph(mark)}<span dir="auto">{escape(part.name)}</span><b>{part.tokens:,}</b>'
            f"<span>{escape(detail)}</span></li>"
        )
    return (
        f'<section class="fvl-part"><h2>{evidence.tokens:,} of {evidence.all_tokens:,} '
        f"{evidence.unit} <small>the whole bar is every sampled frame at full detail</small></h2>"
        f'<div class="fvl-bar">{"".join(bar)}</div><ul class="fvl-tokens">{"".join(rows)}</ul>'
        "</section>"
    )


def downloads(result: str, stem: str) -> str:
    """Links to the picture and the data of a result."""
    kinds = {"png": "Picture (PNG)", "svg": "SVG", "pdf": "PDF", "json": "Data (JSON)"}
    links = [
        f'<a href="./answers/{escape(result)}/{stem}.{kind}" download="{stem}.{kind}">{words}</a>'
        for kind, words in kinds.items()
    ]
    return f'<p class="fvl-downloads"><span>Download</span>{"".join(links)}</p>'


def talk(turns: Sequence[Answer], question: str = "", growing: str = "") -> str:
    """Follow-ups with their answers, and the one that is being answered; nothing before the first.

    Of the turns the first stands above, as the answer of its own.
    """
    rows = [(turn.question, turn.text or "the model said nothing") for turn in turns[1:]]
    items = "".join(_turn(asked, said) for asked, said in rows)
    if question:
        items += _turn(question, growing, growing=True)
    if not items:
        return ""
    return (
        f'<section class="fvl-part"><h2>Follow-ups</h2><ol class="fvl-talk">{items}</ol></section>'
    )


def _turn(question: str, said: str, *, growing: bool = False) -> str:
    busy = ' aria-busy="true"' if growing else ""
    return (
        f'<li{busy}><p class="fvl-question" dir="auto">{escape(question)}</p>'
        f'<p class="fvl-told" dir="auto">{escape(said) or "…"}</p></li>'
    )


def asked_before(asked: Sequence[Asked]) -> str:
    """The session's earlier questions about this clip."""
    if not asked:
        return ""
    rows = "".join(
        f'<li><span dir="auto">{escape(a.question)}</span> <b dir="auto">{escape(a.answer)}</b> '
        f"<small>{escape(a.plan)}</small></li>"
        for a in asked
    )
    title = "<h2>Asked before <small>about this clip</small></h2>"
    return f'<section class="fvl-part">{title}<ul class="fvl-asked">{rows}</ul></section>'


def comparison(reply: Reply) -> str:
    """One question under several plans: the table, the picture, the downloads."""
    rows = "".join(
        f'<tr><th scope="row" dir="auto">{escape(captions.plan_name(answer))}</th>'
        f"<td>{answer.evidence.tokens:,}</td><td>{captions.asking_seconds(answer):.2f}</td>"
        f'<td dir="auto">{escape(answer.text) or "<i>nothing</i>"}</td></tr>'
        for answer in reply.answers
    )
    question = escape(reply.answers[0].question)
    picture = f"./answers/{escape(reply.result)}/plans.png"
    unit = reply.answers[0].evidence.unit.capitalize()
    return (
        f'<div class="fvl-comparison"><p class="fvl-question" dir="auto">{question}</p>'
        f'<table class="fvl-table"><thead><tr><th scope="col">Plan</th><th scope="col">{unit}</th>'
        '<th scope="col">Seconds</th><th scope="col">Answer</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        f'<p class="fvl-cost">{cost(reply)}</p>'
        f'<a class="fvl-picture" href="{picture}" target="_blank" rel="noopener">'
        f'<img src="{picture}" alt="What each plan kept of the clip, on one timeline"></a>'
        f"{downloads(reply.result, 'plans')}</div>"
    )


EMPTY = (
    '<div class="fvl-empty"><p><b>What an answer rests on appears here.</b></p>'
    "<p>Drop or record a video, or choose an example; then ask. The first question about a clip "
    "watches it; the next ones do not need to.</p></div>"
)
