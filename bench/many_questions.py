"""Questions answered together by `tiny`, in one call of the language model, and one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from free_video_llm import Plan, VideoLLM
from free_video_llm.llm.generate import Decoding
from free_video_llm.llm.kv_cache import KeyValues
from free_video_llm.llm.prompts import template_named
from free_video_llm.samples import find
from free_video_llm.tiny.world import COLORS, SHAPES
from measure import Figure, Series, interleaved

SECTION = "Questions together"
#: Asked of `tiny` in its own words, all different; the answers are checked to be the same.
QUESTIONS = (
    *(f"What color is the {shape}?" for shape in SHAPES),
    *(f"What shape is the {color} object?" for color in COLORS),
    *(f"Is there a {shape}?" for shape in SHAPES),
    f"Is there a {COLORS[0]} {SHAPES[0]}?",
)
#: One plan whose tokens are the same for all questions; two whose tokens depend on the question.
PLANS = ("uniform-3", "prompt-3", "paper")
#: New tokens of a long answer.
LONG = 32
#: Visual tokens from which on a prompt is long.
LONG_PROMPT = 1000
#: Prompts that the ways of keeping keys and values are compared with.
ROWS = 4


def figures(repeats: int) -> list[Figure]:
    """The language model's part, for plans of different kinds and answers of different lengths."""
    llm = VideoLLM.from_pretrained("tiny")
    video = llm.watch(find("sample:star"))
    lines = []
    for name in PLANS:
        plan = Plan.preset(name)
        tokens = [video.perceive(question, plan)[0].embeds for question in QUESTIONS]
        lines.append(_line(llm, name, tokens, repeats, "the language model's part, `tiny`"))
    # Real models answer in sentences: the same with an end of sequence that never comes.
    llm.image_llm.model.generation_config.eos_token_id = None
    note = "the same; it was made to go on, as real models do"
    lines.append(_line(llm, name, tokens, repeats, note, new=LONG))
    return [*lines, *_caches(llm, tokens, repeats)]


def _line(
    llm: VideoLLM, name: str, tokens: list[torch.Tensor], repeats: int, note: str, new: int = 128
) -> Figure:
    """What a batch gains."""

    def apart() -> list[str]:
        asked = zip(_prompts(llm), tokens, strict=True)
        return [_answers(llm, [prompt], [some], new)[0] for prompt, some in asked]

    ways = {"one by one": apart, "together": lambda: _answers(llm, _prompts(llm), tokens, new)}
    times = _timed(ways, repeats, name)
    answers = "answers of a word" if new > LONG else f"answers of {new} tokens"
    what = f"{len(QUESTIONS)} questions at once, `{name}` ({len(tokens[0]):,} tokens), {answers}"
    # Nothing is promised of long prompts with answers of a word: their pre-fill runs at the rate of
    # one prompt, and more than what is computed once can only be had by layers of one's own.
    bound = None if new > LONG and len(tokens[0]) > LONG_PROMPT else 1.8
    return Figure(SECTION, what, times["one by one"], times["together"], bound=bound, note=note)


def _prompts(llm: VideoLLM) -> list[str]:
    return [template_named(llm.conv_mode).fill(question) for question in QUESTIONS]


def _answers(
    llm: VideoLLM, prompts: list[str], tokens: list[torch.Tensor], new: int = 128
) -> list[str]:
    decoding = Decoding(max_new_tokens=new)
    return [g.text for g in llm.image_llm.generate(prompts, tokens, decoding=decoding)]


def _timed(
    ways: Mapping[str, Callable[[], list[str]]], repeats: int, what: str
) -> dict[str, Series]:
    """Seconds of ways to answer, which must all give the same answers."""
    first, *others = [way() for way in ways.values()]
    if any(other != first for other in others):
        raise SystemExit(f"{what}: answers differ between {', '.join(ways)}")
    return interleaved(ways, repeats, what=what)


def _caches(llm: VideoLLM, tokens: list[torch.Tensor], repeats: int) -> list[Figure]:
    """Where keys and values are kept: as transformers does it in its two ways, and here."""
    ids = llm.image_llm.tokenize(f"<image> {QUESTIONS[0]}")
    embeds = torch.stack([llm.image_llm.embed(ids, some) for some in tokens[:ROWS]])
    rows, length = embeds.shape[:2]
    layers = llm.image_llm.model.config.text_config.num_hidden_layers

    def generate(**cache: object) -> torch.Tensor:
        return llm.image_llm.model.generate(
            inputs_embeds=embeds, attention_mask=torch.ones(rows, length, dtype=torch.long),
            min_new_tokens=LONG, max_new_tokens=LONG, do_sample=False, pad_token_id=0, **cache,
        )  # fmt: skip

    def here() -> torch.Tensor:
        store = KeyValues(layers=layers, rows=rows, room=length + LONG)
        return generate(past_key_values=store.cache(slice(0, rows), 0))

    ways = {
        "dynamic": lambda: generate(cache_implementation="dynamic"),
        "static": lambda: generate(cache_implementation="static"),
        "here": here,
    }
    first, *others = [way() for way in ways.values()]
    if any(not torch.equal(first, other) for other in others):
        raise SystemExit("answers differ between ways of keeping keys and values")
    times = interleaved(ways, repeats, what="caches")
    note = f"`tiny`, {ROWS} prompts of {length:,} tokens, {LONG} new tokens each, pre-fill included"
    return [
        Figure(
            SECTION, f"keys and values in transformers' {name} cache ÷ as here", times[name],
            times["here"], note=note,
        )
        for name in ("dynamic", "static")
    ]  # fmt: skip
