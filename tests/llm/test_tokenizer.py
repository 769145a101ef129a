"""The language model's tokenizer, and where generation stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
import torch

from free_video_llm import VideoLLM
from free_video_llm.llm.tokenizer import SentencePieceTokenizer, load_tokenizer, token_id
from tiny_checkpoints import YI, random_frames, write_json, write_original, write_tokenizer

PLAN = "frames=uniform:1/concat"
END = 7  # <|im_end|>


@pytest.fixture(scope="module")
def vicuna(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceTokenizer:
    folder = tmp_path_factory.mktemp("vicuna")
    write_tokenizer(folder)
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceTokenizer:
    folder = tmp_path_factory.mktemp("yi")
    write_tokenizer(folder, chatml=True)
    return load_tokenizer(folder)


def test_text_is_sentencepieces_own(vicuna: SentencePieceTokenizer, tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    for text in ("the red star", "USER: ", "\nå 🎥 x", "", "  two  spaces "):
        ids = pieces.encode(text)
        assert vicuna.encode(text) == ids
        assert vicuna(text)["input_ids"] == [1, *ids]
        assert vicuna.decode(ids) == pieces.decode(ids)


def test_special_tokens_are_cut_out_though_no_file_lists_them(
    vicuna: SentencePieceTokenizer,
) -> None:
    """As the slow tokenizer does with LLaVA-v1.5's files, which have no added_tokens_decoder."""
    red, star = vicuna.encode("red"), vicuna.encode("star")
    assert vicuna.encode("red</s>star") == [*red, 2, *star]
    assert vicuna.decode([*red, 2, *star]) == "red star"
    assert vicuna.decode([*red, 2], skip_special_tokens=False) == "red </s>"
    assert (vicuna.bos_token_id, vicuna.eos_token_id, vicuna.unk_token_id) == (1, 2, 0)
    assert vicuna.pad_token_id is None


def test_chatml_marks_are_one_token_each(
    chatml: SentencePieceTokenizer, vicuna: SentencePieceTokenizer
) -> None:
    ids = chatml("<|im_start|>user\n the star <|im_end|>\n")["input_ids"]
    assert (ids[0], ids.count(6), ids.count(END)) == (6, 1, 1)
    assert chatml.eos_token_id == END
    assert token_id(chatml, "<|im_end|>") == END
    assert token_id(vicuna, "<|im_end|>") is None
    assert chatml.decode([6, END]) == "<|im_start|>"  # the one is special, the other is not


@pytest.mark.parametrize("legacy", [True, False])
def test_what_goes_before_a_part_of_a_text(tmp_path: Path, legacy: bool) -> None:
    """Legacy: a space before each part between added tokens; else one before the whole text.

    The ids were checked against transformers 4.38.2's slow tokenizer.
    """
    write_tokenizer(tmp_path, chatml=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    write_json(tmp_path / "tokenizer_config.json", config | {"legacy": legacy})
    tokenizer = load_tokenizer(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    space = pieces.piece_to_id("▁")
    system = pieces.encode("system\n")
    bare = system[1:] if system[0] == space else None
    assert bare is not None  # the space is a piece of its own here
    ids = tokenizer.encode("<|im_start|>system\n<|im_end|> a")
    if legacy:
        assert ids == [6, *system, END, *pieces.encode(" a")]
    else:  # the first space is kept, since <|im_start|> is not called special
        assert ids == [space, 6, *bare, END, *pieces.encode("a")]
    assert tokenizer.encode("the star") == pieces.encode("the star")
    assert tokenizer.encode("\nwhat?") == pieces.encode("\nwhat?")


@pytest.mark.parametrize(("lstrip", "rstrip"), [(True, False), (False, True), (False, False)])
def test_added_tokens_eat_the_space_they_say(tmp_path: Path, lstrip: bool, rstrip: bool) -> None:
    write_tokenizer(tmp_path)
    entry = {"content": "<mark>", "special": True, "lstrip": lstrip, "rstrip": rstrip}
    write_json(tmp_path / "tokenizer_config.json", {"added_tokens_decoder": {"320": entry}})
    tokenizer = load_tokenizer(tmp_path)
    before = tokenizer.encode("star" if lstrip else "star ")
    after = tokenizer.encode("red" if rstrip else " red")
    assert tokenizer.encode("star <mark> red") == [*before, 320, *after]
    assert len(tokenizer) == 321


def test_added_tokens_in_a_file_of_their_own(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_json(tmp_path / "added_tokens.json", {"<pad>": 320})
    assert load_tokenizer(tmp_path).encode("<pad>") == [320]


def test_ids_beyond_the_vocabulary_give_nothing(vicuna: SentencePieceTokenizer) -> None:
    """Embeddings are often padded to a round number."""
    star = vicuna.encode("star")
    assert vicuna.decode([*star, 5000]) == "star"


# --- where generation stops ----------------------------------------------------------------------


def parrot(folder: Path, chain: list[int], *, eos: int) -> VideoLLM:
    """A model that says `chain` again and again: a token's direction points to its successor."""
    d = YI.width
    directions = torch.eye(d)
    embeddings = directions[:1].repeat(YI.vocabulary, 1)
    head = torch.zeros(YI.vocabulary, d)
    for number, token in enumerate(chain, start=1):
        embeddings[token] = directions[number]
        head[token] += directions[number - 1]
    head[chain[0]] += directions[len(chain)]
    still = {
        f"model.layers.{layer}.{part}.weight": torch.zeros(shape)
        for layer in range(YI.layers)
        for part, shape in (("self_attn.o_proj", (d, d)), ("mlp.down_proj", (d, YI.inner)))
    }
    still |= {"model.embed_tokens.weight": embeddings, "lm_head.weight": head}
    still["model.norm.weight"] = torch.ones(d)
    write_original(folder, YI, chatml=True, extra=still)
    write_json(folder / "generation_config.json", {"eos_token_id": eos})
    return VideoLLM.from_pretrained(folder)


@pytest.fixture
def words(chatml: SentencePieceTokenizer) -> list[int]:
    pieces = [chatml.convert_tokens_to_ids(text) for text in ("▁the", "▁star")]
    first, second = (n if n else chatml.encode("x")[-1] for n in pieces)
    assert first != second
    return [first, second]


Parrot = Callable[..., VideoLLM]


@pytest.mark.parametrize("eos", [2, END])
def test_chatml_stops_at_the_end_of_turn(tmp_path: Path, words: list[int], eos: int) -> None:
    """Whether or not the checkpoint calls <|im_end|> its end of sequence."""
    llm = parrot(tmp_path, [*words, END], eos=eos)
    assert llm.conv_mode == "image_seq_34b_v3"
    answer = llm.watch(random_frames(1)).ask("what?", plan=PLAN, max_new_tokens=12)
    assert answer.token_ids == (*words, END)
    assert answer.text == llm.image_llm.tokenizer.decode(words)
    assert "im_end" not in answer.text


def test_without_an_end_of_turn_it_goes_on(tmp_path: Path, words: list[int]) -> None:
    """Else the test above could not fail; a Vicuna prompt has no end of turn but the EOS."""
    llm = parrot(tmp_path, [*words, END], eos=2)
    answer = llm.watch(random_frames(1)).ask(
        "what?", plan=PLAN, conv_mode="image_seq_v3", max_new_tokens=8
    )
    assert answer.token_ids == (*words, END, *words, END, *words)


def test_in_a_batch_every_answer_ends_at_its_own_end(tmp_path: Path, words: list[int]) -> None:
    llm = parrot(tmp_path, [*words, END], eos=2)
    video = llm.watch(random_frames(2))
    asked = [(video, "a?"), (video, "what is the red star doing here?")]
    answers = llm.ask(asked, plan=PLAN, max_new_tokens=12)
    assert [answer.token_ids for answer in answers] == [(*words, END)] * 2


def test_a_stop_of_several_tokens_ends_the_text_before_it(tmp_path: Path, words: list[int]) -> None:
    """Where a tokenizer does not have the end of turn as one token, it is found in the text."""
    llm = parrot(tmp_path, [*words, END], eos=2)
    decoded = llm.image_llm.tokenizer.decode(words)
    visual = torch.zeros(1, YI.width)
    (said,) = llm.image_llm.generate(["<image>a"], [visual], stop=(decoded[1:],))
    assert said.token_ids == tuple(words)
    assert said.text == decoded[0]
