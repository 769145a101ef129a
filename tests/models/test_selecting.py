"""Families whose tokens are selected, of random weights, against transformers' own path."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from selecting_files import KINDS, Kind, prompt_of, write_model

from free_video_llm import ConfigError, Frames, PlanError, VideoLLM
from free_video_llm.models import selecting

QUESTION = "what is it ?"


@pytest.fixture(scope="module", params=list(KINDS))
def made(request, tmp_path_factory) -> tuple[Kind, Any, VideoLLM]:
    """A family, transformers' model, and ours from its files."""
    kind = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    theirs = write_model(folder, kind)
    try:
        return kind, theirs, VideoLLM.from_pretrained(folder, scorer="tiny", **kind.options)
    except ConfigError as error:
        if "or newer" not in str(error):
            raise
        pytest.skip(str(error))


def test_a_transformers_that_cannot_is_told_so(tmp_path: Path, monkeypatch):
    write_model(tmp_path, KINDS["smolvlm"])
    monkeypatch.setattr(selecting.transformers, "__version__", "5.20.2")
    with pytest.raises(ConfigError, match=r"transformers 5\.21 or newer, this is 5\.20\.2: upgr"):
        VideoLLM.from_pretrained(tmp_path, scorer="tiny")


def clip(size: int, count: int = 6) -> Frames:
    generator = np.random.default_rng(2)
    pixels = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Frames(
        pixels, np.arange(float(count)), np.arange(count), count, float(count), "made", size, size
    )


def their_inputs(kind: Kind, llm: VideoLLM, frames: Frames, which: list[int]) -> dict[str, Any]:
    """The whole prompt and all pixels, as transformers' processor gives them."""
    text = prompt_of(kind, which, QUESTION)
    ids = torch.tensor([llm.token_llm.tokenizer(text)["input_ids"]])
    visual = ids == llm.token_llm.wiring.image_id
    assert int(visual.sum()) == len(which) * kind.side**2
    images = kind.images([Image.fromarray(frames.pixels[frame]) for frame in which])
    types = {"token_type_ids": visual.long(), "mm_token_type_ids": visual.int()}
    known = {"qwen": "mm_token_type_ids", "gemm": "token_type_ids"}
    name = known.get(llm.token_llm.model.config.model_type[:4])
    more = {name: types[name]} if name else {}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **images, **more}


def test_all_frames_and_all_tokens_are_transformers_own_path(made):
    """Logits within 1e-4, and 16 greedy ids."""
    kind, theirs, ours = made
    frames = clip(ours.towers.size)
    answer = ours.watch(frames).ask(QUESTION, plan="all=all/concat", max_new_tokens=16)
    assert len(answer.visual_tokens) == 6 * kind.side**2
    whole = their_inputs(kind, ours, frames, list(range(6)))
    with torch.inference_mode():
        wanted = theirs(**whole).logits
        ours_in = ours.token_llm.inputs_of(request_of(answer, frames))
        assert torch.equal(ours_in["input_ids"], whole["input_ids"])
        logits = ours.token_llm.model(**ours_in).logits
        generated = theirs.generate(**whole, max_new_tokens=16, do_sample=False)
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=0)
    assert answer.token_ids == tuple(generated[0, whole["input_ids"].shape[1] :].tolist())
    assert answer.prompt_tokens == whole["input_ids"].shape[1]


def request_of(answer, frames):
    from free_video_llm.asking import Asked, frames_of
    from free_video_llm.llm.selected_tokens import SeenFrames

    asked = Asked(question=QUESTION, options=(), frames=frames, side=0,
                  tokens=answer.visual_tokens, notes=(), seconds={})  # fmt: skip
    return SeenFrames(frames_of(asked), QUESTION)


PLANS = {
    "a crop of two frames": ("slow=prompt:2/concat/crop:0.3", 2 * 4),
    "one of each four, and a look at three frames": (
        "slow=prompt:1/spatial_2d_avg_pool+fast=uniform:3/adaptive_2d_pool:3x2", 4 + 3 * 6),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_that_prunes_is_the_whole_with_the_rest_masked(made, name: str):
    """Logits within 1e-4 and the next ids, where what is left out keeps its places (Qwen-VL)."""
    kind, theirs, ours = made
    plan, tokens = PLANS[name]
    frames = clip(ours.towers.size)
    answer = ours.watch(frames).ask(QUESTION, plan=plan, max_new_tokens=4)
    assert len(answer.visual_tokens) == tokens
    request = request_of(answer, frames)
    whole = their_inputs(kind, ours, frames, [int(seen.second) for seen in request.frames])
    given = ours.token_llm.whole(request).given
    inputs = ours.token_llm.inputs_of(request)
    with torch.inference_mode():
        logits = ours.token_llm.model(**inputs).logits[0]
        wanted = masked_logits(theirs, whole, given)
    torch.testing.assert_close(logits, wanted[given], atol=1e-4, rtol=0)
    for token in answer.token_ids:
        assert int(wanted[-1].argmax()) == token
        if token == ours.token_llm.wiring.image_id:  # random weights say anything
            break
        end = torch.tensor([[token]])
        whole["input_ids"] = torch.cat([whole["input_ids"], end], 1)
        for types in [name for name in whole if name.endswith("token_type_ids")]:
            whole[types] = torch.cat([whole[types], torch.zeros_like(end)], 1)
        given = torch.cat([given, torch.tensor([True])])
        with torch.inference_mode():
            wanted = masked_logits(theirs, whole, given)


def masked_logits(theirs: Any, whole: dict[str, Any], given: torch.Tensor) -> torch.Tensor:
    inputs = {name: value for name, value in whole.items() if name != "attention_mask"}
    if hasattr(theirs.model, "get_rope_index"):
        positions = theirs.model.get_rope_index(
            whole["input_ids"], whole["mm_token_type_ids"], whole["image_grid_thw"]
        )[0]
    else:
        positions = (given.cumsum(0) - 1).clamp_min(0)[None]
    return theirs(**inputs, attention_mask=given.long()[None], position_ids=positions).logits[0]


def test_naive_positions_would_be_others(made):
    """The test above can fail: tokens of Qwen-VL moved together give other logits."""
    _, _, ours = made
    frames = clip(ours.towers.size)
    answer = ours.watch(frames).ask(QUESTION, plan="slow=prompt:2/concat/crop:0.3")
    inputs = ours.token_llm.inputs_of(request_of(answer, frames))
    with torch.inference_mode():
        right = ours.token_llm.model(**inputs).logits
        inputs.pop("position_ids", None)
        naive = ours.token_llm.model(**inputs).logits
    differs = float((right - naive).abs().max()) > 1e-4
    assert differs == ours.token_llm.model.config.model_type.startswith("qwen")


def test_every_kept_token_is_one_of_its_frame(made):
    kind, _, ours = made
    frames = clip(ours.towers.size)
    video = ours.watch(frames)
    answer = video.ask(QUESTION, plan="slow=prompt:2/spatial_1d_max_pool/crop:0.5+fast=all/"
                       "adaptive_2d_pool:2x2", max_new_tokens=1)  # fmt: skip
    tokens = answer.visual_tokens
    assert len(set(zip(tokens.pathway.tolist(), tokens.frame.tolist(), tokens.places.tolist(),
                       strict=True))) == len(tokens)  # fmt: skip
    for token, frame, place, region in zip(
        tokens.embeds, tokens.frame.tolist(), tokens.places.tolist(), tokens.region, strict=True
    ):
        assert torch.equal(token, video.features.patches_in([frame])[0, place])
        row, column = divmod(place, kind.side)
        edges = torch.tensor([column, row, column + 1, row + 1]) / kind.side
        torch.testing.assert_close(region, edges)


def test_it_is_asked_like_any_other(made, tmp_path: Path):
    """Choices, a batch, beams, the picture, the cost, pickling; what it has not is one line."""
    import pickle

    from free_video_llm.profile import cost_report

    _, _, ours = made
    video = ours.watch(clip(ours.towers.size))
    answer = video.ask(QUESTION, options=["red", "blue"], plan="prompt-3", max_new_tokens=2)
    assert answer.prompt.endswith("Answer with the letter of the best option alone.")
    assert answer.save_picture(tmp_path / "why.png").stat().st_size > 5_000
    assert cost_report(video, answer).seconds > 0
    again = ours.attach(pickle.loads(pickle.dumps(video)))
    questions = [(video, QUESTION), (again, "is it red ?"), (again, QUESTION)]
    batch = ours.ask(questions, plan="prompt-3", max_new_tokens=3)
    assert batch[0].token_ids == batch[2].token_ids
    assert batch[0].timings.prefill > 0
    beams = video.ask(QUESTION, plan="prompt-3", max_new_tokens=3, num_beams=2)
    assert len(beams.token_ids) <= 3
    with pytest.raises(ConfigError, match="the released rules are those of the released code's"):
        video.ask(QUESTION, plan="paper@released")
    with pytest.raises(ConfigError, match="has a prompt of its own"):
        video.ask(QUESTION, plan="prompt-3", conv_mode="plain")
    with pytest.raises(PlanError, match="averages frames, and this model's tokens are kept"):
        video.ask(QUESTION, plan="all=all/temporal_global_pool")
    with pytest.raises(PlanError, match="is more than the 4 × 4 tokens that this model has"):
        video.ask(QUESTION, plan="all=all/adaptive_2d_pool:9x9")
    with pytest.raises(ConfigError, match="prompt and answer need"):
        video.ask(QUESTION, plan="prompt-3", max_new_tokens=5000)
    with pytest.raises(ConfigError, match=r"visual tokens of .* are its own, and selected"):
        _ = ours.image_llm


def test_a_flat_config_as_older_repositories_have_it(tmp_path: Path):
    """Qwen2.5-VL's on the Hub has the language model's values beside those of the whole."""
    import json

    kind = KINDS["qwen2_5_vl"]
    write_model(tmp_path, kind)
    nested = VideoLLM.from_pretrained(tmp_path, scorer="tiny", **kind.options)
    data = json.loads((tmp_path / "config.json").read_text())
    text = data.pop("text_config")
    rope = text.pop("rope_parameters")
    old = {"rope_theta": rope["rope_theta"],
           "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({**text, **data, **old}))
    flat = VideoLLM.from_pretrained(tmp_path, scorer="tiny", **kind.options)
    answers = [
        llm.watch(clip(llm.towers.size)).ask(QUESTION, plan="prompt-3", max_new_tokens=8).token_ids
        for llm in (nested, flat)
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("case", ["no template", "pixels", "images", "level", "square", "pickle"])
def test_what_does_not_fit_is_one_line(tmp_path: Path, case: str):
    import json

    from free_video_llm import CheckpointError

    name = "internvl" if case in ("square", "pixels") else "qwen3_vl"
    write_model(tmp_path, KINDS[name])
    config, options, words = json.loads((tmp_path / "config.json").read_text()), {}, ""
    if case == "no template":
        (tmp_path / "chat_template.jinja").unlink()
        words = "has no chat template"
    elif case == "pixels":
        options, words = {"max_pixels": 5000}, "frames have one size"
    elif case == "images":
        options, words = {"max_images": 3}, "max_images is for models that are shown pictures"
    elif case == "level":
        config["model_type"] = "paligemma"
        options, words = {"level": "tokens"}, "is asked at the level of pictures, not of tokens"
    elif case == "square":
        config["vision_config"]["image_size"] = [112, 56]
        words = "image_size is a whole number"
    else:
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        words = "read from safetensors alone"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises((CheckpointError, ConfigError), match=words) as caught:
        VideoLLM.from_pretrained(tmp_path, scorer="tiny", **options)
    assert "\n" not in str(caught.value)


def test_gemma_3_can_be_shown_pictures_instead(tmp_path: Path):
    """By its own processor, whose tokenizer names its marks; the prompt begins once."""
    import json

    write_model(tmp_path, KINDS["gemma3"])
    pictures = {"processor_class": "Gemma3Processor", "size": {"height": 64, "width": 64},
                "image_processor_type": "Gemma3ImageProcessor"}  # fmt: skip
    about = json.loads((tmp_path / "preprocessor_config.json").read_text()) | pictures
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"processor_class": "Gemma3Processor", "image_seq_length": 16})
    )
    words = json.loads((tmp_path / "tokenizer_config.json").read_text())
    words.pop("additional_special_tokens", None)
    words |= {"bos_token": "<bos>", "extra_special_tokens": {
        "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>"}}  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(words))
    llm = VideoLLM.from_pretrained(tmp_path, scorer="tiny", level="pictures")
    video = llm.watch("sample:star", frames=6)
    answer = video.ask(QUESTION, plan="prompt-3", max_new_tokens=4)
    assert len(answer.pictures) == 3
    request = SimpleNamespace(pictures=answer.pictures, text=QUESTION)
    ids = llm.picture_llm.inputs_of(request)["input_ids"][0].tolist()
    assert ids.count(2) == 1
    assert ids[0] == 2
    built = VideoLLM.from_pretrained(tmp_path, scorer="tiny")
    answer = built.watch(clip(64)).ask(QUESTION, plan="prompt-3", max_new_tokens=1)
    assert built.token_llm.inputs_of(request_of(answer, clip(64)))["input_ids"][0].tolist()[0] == 2
