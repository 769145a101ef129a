"""LLaVA-OneVision of random weights against transformers' own path for video."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

from free_video_llm import Frames, Plan, VideoLLM
from free_video_llm.errors import CheckpointError
from free_video_llm.llm.generate import IMAGE_ID
from free_video_llm.plans.apply import NO_TOKENS
from free_video_llm.profile import cost_report

WORDS = ["<unk>", "<|im_start|>", "<|im_end|>", "user", "assistant", "The", "input", "consists",
         "of", "a", "sequence", "key", "frames", "from", "video", ".", "Question", ":", "what",
         "is", "it", "?", "red", "blue", "Options", "Answer", "with", "the", "letter", "best",
         "option", "(", ")", "A", "B", "<video>"]  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}<|im_start|> {{ m.role }} \n{{ m.content }} <|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant\n{% endif %}"
)
VIDEO = len(WORDS) - 1
SIDE = 5


def model_of(*, tied: bool) -> LlavaOnevisionForConditionalGeneration:
    torch.manual_seed(5)
    config = LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model", "image_size": 14 * SIDE, "patch_size": 14,
            "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3,
            "num_attention_heads": 2, "vision_use_head": False,
        },
        text_config={
            "model_type": "qwen2", "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 4096, "tie_word_embeddings": tied,
            "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0,
        },
        image_token_index=38, video_token_index=VIDEO, tie_word_embeddings=tied,
        vision_feature_layer=-1,
    )  # fmt: skip
    model = LlavaOnevisionForConditionalGeneration(config)
    for parameter in model.parameters():  # initialised too small to tell frames apart
        parameter.data += torch.randn(parameter.shape) * 0.1
    return model.eval()


def write(folder: Path, model: LlavaOnevisionForConditionalGeneration, *, today: bool) -> Path:
    """With the names of the Hub's repositories, or with those that the parameters have today."""
    model.save_pretrained(folder)
    if today:
        tensors = {name: p.detach().clone() for name, p in model.named_parameters()}
        assert "model.image_newline" in tensors
    else:  # as transformers 4 wrote them, which the Hub's are from
        stored = load_file(folder / "model.safetensors")
        tensors = {
            n.replace("vision_tower.", "vision_tower.vision_model.", 1).replace(
                "vision_model.vision_model.", "vision_model."
            ): t
            for n, t in stored.items()
        }
        assert "vision_tower.vision_model.post_layernorm.weight" in tensors
        assert "image_newline" in tensors
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE,
             "eos_token": "<|im_end|>", "unk_token": "<unk>", "pad_token": "<unk>"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    return folder


@pytest.fixture(scope="module", params=["as on the Hub", "today's names", "tied"])
def pair(request, tmp_path_factory):
    """transformers' model, and ours from its files."""
    theirs = model_of(tied=request.param == "tied")
    folder = tmp_path_factory.mktemp("onevision")
    write(folder, theirs, today=request.param == "today's names")
    return theirs, VideoLLM.from_pretrained(folder, scorer="tiny")


def clip(count: int = 6) -> Frames:
    generator = np.random.default_rng(2)
    size = 14 * SIDE
    pixels = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Frames(
        pixels, np.arange(float(count)), np.arange(count), count, float(count), "made", size, size
    )


def pixel_values(frames) -> torch.Tensor:
    pixels = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2).float()
    return ((pixels / 255 - 0.5) / 0.5)[None]


def test_its_own_video_recipe_is_a_preset(pair):
    """All frames, bilinear: our logits and 16 greedy ids are those of transformers' video path."""
    theirs, ours = pair
    frames = clip()
    answer = ours.watch(frames).ask("what is it ?", plan="onevision", max_new_tokens=16)
    per_frame = ((SIDE + 1) // 2) ** 2
    assert len(answer.visual_tokens) == len(frames) * per_frame
    assert Plan.preset("onevision").count_tokens(frames=6, side=SIDE) == 6 * per_frame
    ids = ours.image_llm.tokenize(answer.prompt)
    at = ids.index(IMAGE_ID)
    whole = torch.tensor([[*ids[:at], *[VIDEO] * (6 * per_frame + 1), *ids[at + 1 :]]])
    with torch.inference_mode():
        wanted = theirs(input_ids=whole, pixel_values_videos=pixel_values(frames)).logits
        embeds = ours.image_llm.embed(ids, answer.visual_tokens.embeds)[None]
        logits = ours.image_llm.model(inputs_embeds=embeds).logits
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=0)
    generated = theirs.generate(
        input_ids=whole, pixel_values_videos=pixel_values(frames), max_new_tokens=16,
        do_sample=False, attention_mask=torch.ones_like(whole), pad_token_id=0,
    )  # fmt: skip
    assert answer.token_ids == tuple(generated[0, whole.shape[1] :].tolist())


def test_a_plan_that_prunes_is_the_whole_with_the_rest_masked(pair):
    theirs, ours = pair
    frames = clip()
    plan = "slow=prompt:2/concat"
    answer = ours.watch(frames).ask("what is it ?", plan=plan, max_new_tokens=1)
    kept = sorted(kept.frame for kept in answer.evidence.pathways[0].kept)
    ids = ours.image_llm.tokenize(answer.prompt)
    at = ids.index(IMAGE_ID)
    every = ours.watch(frames).ask("what is it ?", plan="all=all/concat", max_new_tokens=1)
    embeds = ours.image_llm.embed(ids, every.visual_tokens.embeds)[None]
    mask = torch.ones(embeds.shape[1], dtype=torch.long)
    for frame in set(range(6)) - set(kept):
        mask[at + frame * SIDE**2 : at + (frame + 1) * SIDE**2] = 0
    positions = (mask.cumsum(0) - 1).clamp_min(0)[None]
    with torch.inference_mode():
        masked = theirs(inputs_embeds=embeds, attention_mask=mask[None], position_ids=positions)
        pruned = ours.image_llm.embed(ids, answer.visual_tokens.embeds)[None]
        logits = ours.image_llm.model(inputs_embeds=pruned).logits
    torch.testing.assert_close(logits, masked.logits[:, mask.bool()], atol=1e-4, rtol=0)


def test_the_tower_is_passed_once_for_each_frame_and_the_scorer_too(pair):
    _, ours = pair
    assert not ours.towers.shared
    features = ours.towers.encode(clip(4).pixels)
    assert features.patches.shape == (4, SIDE, SIDE, 24)
    assert features.llm_states.shape == (4, SIDE**2, 24)


@pytest.mark.parametrize("plan", ["paper-small", "slowfast", "paper", "diverse"])
def test_every_plan_works_on_its_odd_grid(pair, plan, tmp_path: Path):
    _, ours = pair
    video = ours.watch(clip(9))
    questions = [(video, "what is it ?"), (video, "is it red ?")]
    batch = ours.ask(questions, plan=plan, max_new_tokens=4)
    alone = [video.ask(q, plan=plan, max_new_tokens=4) for _, q in questions]
    assert [a.token_ids for a in batch] == [a.token_ids for a in alone]
    assert len(batch[0].visual_tokens) == Plan.preset(plan).count_tokens(frames=9, side=SIDE)
    assert batch[0].save_picture(tmp_path / "why.png").stat().st_size > 5_000
    assert cost_report(video, batch[0]).seconds > 0


def test_choices_are_asked_by_its_chat_template(pair):
    _, ours = pair
    answer = ours.watch(clip(3)).ask("what is it ?", options=["red", "blue"], max_new_tokens=2)
    assert answer.prompt.startswith("<|im_start|> user")
    assert "(A) red\n(B) blue\n" in answer.prompt
    assert answer.prompt.endswith("<|im_start|> assistant\n")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"vision_feature_select_strategy": "default"}, "this family needs 'full'"),
        ({"vision_feature_layer": 9}, "allowed: -4 to 3"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, values, words):
    folder = write(tmp_path, model_of(tied=False), today=False)
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=words) as caught:
        VideoLLM.from_pretrained(folder, scorer="tiny")
    assert "\n" not in str(caught.value)


def test_the_stand_in_for_a_projector_keeps_the_shape():
    patches = torch.rand(2, 3, 3, 8)
    assert NO_TOKENS.out(NO_TOKENS.hidden(patches)).shape == (2, 3, 3, 1)
