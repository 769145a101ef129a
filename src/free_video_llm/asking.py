"""From what a plan kept of each video to answers: by a language model that reads visual tokens, or
by a picture model that is shown frames and regions.

Knows nothing of how videos are watched, and of models only their two interfaces.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from free_video_llm.answer import Answer, Evidence, Timings, Unit, gather_evidence
from free_video_llm.errors import ConfigError, one_of
from free_video_llm.llm.chat import ChatRequest, PictureLLM, question_text, stamp
from free_video_llm.llm.generate import Decoding, Generation, ImageLLM, is_local
from free_video_llm.llm.likelihood import likelihoods
from free_video_llm.llm.prompts import CHAT, is_own, own_template, template_for
from free_video_llm.llm.selected_tokens import SeenFrame, SeenFrames, SelectedTokensLLM
from free_video_llm.models.family import LLM
from free_video_llm.plans.apply import VisualTokens
from free_video_llm.plans.plan import Plan
from free_video_llm.show import as_video, pictures_of
from free_video_llm.video.read import Frames
from free_video_llm.video.subtitles import Line, lines_near

#: Characters of subtitles in a prompt: some 400 tokens.
SAID = 1500
#: How a question with options is answered: in the model's own words, or by the likelihood of the
#: options' letters, or of their own words.
Choose = Literal["generate", "letters", "options"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """A question, and what the plan kept of its video.

    Attributes:
        options: of a multiple-choice question, or none.
        frames, side: of the video; patches along one side of a frame.
        tokens, notes: what was kept, and what the user should know.
        seconds: by step: "decode", "encode", "prompt", "select", "project".
    """

    question: str
    options: tuple[str, ...]
    frames: Frames
    side: int
    tokens: VisualTokens
    notes: tuple[str, ...]
    seconds: Mapping[str, float]


def ask_with_tokens(
    llm: ImageLLM,
    asked: Sequence[Asked],
    plan: Plan,
    *,
    conv_mode: str,
    decoding: Decoding,
    model: str,
) -> list[Answer]:
    """Answers in one batch; `model` is the model's name. Raises as `ImageLLM.generate` does."""
    prompts: list[str] = []
    stops: set[str] = set()
    for one in asked:
        template = template_for(conv_mode, llm.tokenizer, multiple_choice=bool(one.options))
        prompts.append(template.fill(spoken_question(one), one.options))
        stops.update(template.stop)
    embeds = [one.tokens.embeds for one in asked]
    generations = llm.generate(prompts, embeds, decoding=decoding, stop=sorted(stops))
    return [
        make_answer(one, plan, model, prompt, generation, evidence_of(one, plan, "tokens"))
        for one, prompt, generation in zip(asked, prompts, generations, strict=True)
    ]


def choose_by_likelihood(
    llm: ImageLLM, asked: Sequence[Asked], plan: Plan, *, choose: Choose, conv_mode: str, model: str
) -> list[Answer]:
    """Answers that are the most likely of the options: by their letters, or, asked without the
    list, by their own words. Raises as `likelihoods` does."""
    answers = []
    for one in asked:
        letters = choose == "letters"
        template = template_for(conv_mode, llm.tokenizer, multiple_choice=letters)
        prompt = template.fill(spoken_question(one), one.options if letters else ())
        named = [chr(ord("A") + i) for i in range(len(one.options))] if letters else one.options
        gap = "" if prompt.endswith(("(", "\n", " ")) else " "
        found = likelihoods(llm, prompt, one.tokens.embeds, [gap + name for name in named])
        generation = Generation(
            text=named[found.best],
            token_ids=found.token_ids[found.best],
            prompt_tokens=found.prompt_tokens,
            prefill_seconds=found.seconds,
            decode_seconds=0.0,
        )
        answer = make_answer(one, plan, model, prompt, generation, evidence_of(one, plan, "tokens"))
        answers.append(replace(answer, probabilities=found.probabilities))
    return answers


def ask_with_pictures(
    llm: PictureLLM,
    asked: Sequence[Asked],
    plan: Plan,
    *,
    conv_mode: str,
    decoding: Decoding,
    model: str,
    on_text: Callable[[str], bool] | None = None,
) -> list[Answer]:
    """Answers of a model that is shown what the plan keeps; a single one is given to `on_text` as
    it is made, where the model can. Raises as `PictureLLM.reply` does."""
    ready = []
    for one in asked:
        start = time.perf_counter()
        evidence = evidence_of(one, plan, "patches")
        times = None
        if llm.limits.as_video:
            pictures, times, notes = as_video(evidence, plan, llm.limits)
        else:
            pictures, notes = pictures_of(evidence, plan, llm.limits)
        request = ChatRequest(pictures, worded(one, conv_mode), times)
        seconds = {**one.seconds, "project": time.perf_counter() - start}
        ready.append((replace(one, notes=one.notes + notes, seconds=seconds), request, evidence))
    tell = getattr(llm, "tell", None)
    if on_text is not None and tell is not None and len(ready) == 1:
        generations = [tell(ready[0][1], decoding, on_text)]
    else:
        generations = llm.reply([request for _, request, _ in ready], decoding)
    answers = []
    for (one, request, evidence), generation in zip(ready, generations, strict=True):
        answer = make_answer(one, plan, model, request.text, generation, evidence)
        answers.append(replace(answer, pictures=request.pictures))
    return answers


def ask_with_selected(
    llm: SelectedTokensLLM,
    asked: Sequence[Asked],
    plan: Plan,
    *,
    conv_mode: str,
    decoding: Decoding,
    model: str,
) -> list[Answer]:
    """Answers of a model that is given some of its own tokens of each kept frame. Raises as
    `SelectedTokensLLM.generate` does."""
    requests = [SeenFrames(frames_of(one), worded(one, conv_mode)) for one in asked]
    generations = llm.generate(requests, decoding)
    return [
        make_answer(one, plan, model, request.text, generation, evidence_of(one, plan, "tokens"))
        for one, request, generation in zip(asked, requests, generations, strict=True)
    ]


def said_near(one: Asked) -> list[Line]:
    """What is said when the frames are shown that are looked at in detail, as far as there is room
    for it; all frames count where there are no others."""
    kept = {name: [look.frame for look in looks] for name, looks in one.tokens.looks.items()}
    every = len(one.frames)
    chosen = [frames for frames in kept.values() if len(frames) < every] or list(kept.values())
    seconds = [float(one.frames.seconds[frame]) for frames in chosen for frame in frames]
    return lines_near(one.frames.subtitles, seconds, most_characters=SAID)


def spoken_question(one: Asked) -> str:
    """The question, after what is said when the kept frames are shown."""
    if not one.frames.subtitles:
        return one.question
    said = [f"[{stamp(line.start)}] {line.text}" for line in said_near(one)]
    return "\n".join(["Subtitles:", *said, one.question])


def worded(one: Asked, conv_mode: str) -> str:
    """What is asked of a model that has a prompt of its own: the question and its options, in the
    user's words where they gave some."""
    if not is_own(conv_mode):
        return question_text(spoken_question(one), one.options)
    template = own_template(conv_mode, multiple_choice=bool(one.options), image=False)
    return template.fill(spoken_question(one), one.options)


def frames_of(one: Asked) -> tuple[SeenFrame, ...]:
    """The frames of every pathway, in the order of their tokens."""
    tokens, found = one.tokens, []
    runs = torch.stack([tokens.pathway, tokens.frame], 1)
    _, sizes = torch.unique_consecutive(runs, dim=0, return_counts=True)
    for start, end in itertools.pairwise([0, *sizes.cumsum(0).tolist()]):
        part = slice(start, end)
        second = float(one.frames.seconds[int(tokens.frame[start])])
        found.append(SeenFrame(second, tokens.places[part], tokens.embeds[part]))
    return tuple(found)


def answer_all(
    llm: LLM,
    asked: Sequence[Asked],
    plan: Plan,
    *,
    conv_mode: str,
    decoding: Decoding,
    model: str,
    choose: Choose = "generate",
    on_text: Callable[[str], bool] | None = None,
) -> list[Answer]:
    """Answers of a language model of any kind; a named `conv_mode` is for one whose tokens we
    build, a prompt of one's own for any."""
    if choose != "generate":
        if not is_local(llm):
            raise ConfigError(
                f"{model} gives no likelihoods: leave choose out, or take a model whose visual "
                "tokens are built here (LLaVA, LLaVA-OneVision)"
            )
        return choose_by_likelihood(
            llm, asked, plan, choose=choose, conv_mode=conv_mode, model=model
        )
    if isinstance(llm, ImageLLM):
        return ask_with_tokens(
            llm, asked, plan, conv_mode=conv_mode, decoding=decoding, model=model
        )
    if isinstance(llm, SelectedTokensLLM):
        return ask_with_selected(
            llm, asked, plan, conv_mode=conv_mode, decoding=decoding, model=model
        )
    return ask_with_pictures(
        llm,
        asked,
        plan,
        conv_mode=conv_mode,
        decoding=decoding,
        model=model,
        on_text=on_text,
    )


def check_choose(choose: object, options: Sequence[Sequence[str]]) -> None:
    """Raise ConfigError unless it is a way to choose that the questions allow."""
    one_of("choose", choose, get_args(Choose), ConfigError)
    if choose != "generate" and not all(options):
        raise ConfigError(f"choose={choose!r} is among options: give them, e.g. ['yes', 'no']")


def check_plan(llm: LLM, plan: Plan, conv_mode: str | None) -> None:
    """Raise ConfigError for what a model has not whose visual tokens we do not build."""
    if isinstance(llm, ImageLLM):
        return
    if plan.rules == "released":
        raise ConfigError(
            "the released rules are those of the released code's visual tokens, and this model "
            "has none of those: leave them out"
        )
    if conv_mode is not None and conv_mode != CHAT and not is_own(conv_mode):
        raise ConfigError("this model has a prompt of its own: no conv_mode")


def evidence_of(one: Asked, plan: Plan, unit: Unit) -> Evidence:
    """What an answer rests on."""
    found = gather_evidence(one.frames, one.tokens, plan, side=one.side, unit=unit)
    return replace(found, said=tuple(said_near(one))) if one.frames.subtitles else found


def make_answer(
    one: Asked, plan: Plan, model: str, prompt: str, generation: Generation, evidence: Evidence
) -> Answer:
    """An answer from what was kept of the video and what the model said."""
    return Answer(
        question=one.question,
        text=generation.text,
        token_ids=generation.token_ids,
        visual_tokens=one.tokens,
        evidence=evidence,
        timings=Timings(
            **{name: one.seconds[name] for name in ("decode", "encode", "prompt", "select")},
            project=one.seconds["project"],
            prefill=generation.prefill_seconds,
            generate=generation.decode_seconds,
        ),
        plan=plan,
        model=model,
        prompt=prompt,
        prompt_tokens=generation.prompt_tokens,
        options=one.options,
        warnings=one.notes,
        token_seconds=generation.token_seconds,
        answer_tokens=generation.new_tokens or len(generation.token_ids),
        cost=generation.cost,
    )
