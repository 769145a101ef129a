"""Picture models in this process, against transformers' own path on the same pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from idefics3_files import MARKS, write_idefics3, write_smolvlm
from PIL import Image
from transformers import AutoProcessor

from free_video_llm import CheckpointError, ConfigError, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.evaluation.provenance import describe_model
from free_video_llm.samples import find

QUESTION = "what is it ?"
FAKE = MARKS[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("idefics3")
    return folder, write_idefics3(folder)


@pytest.fixture(scope="module")
def llm(made) -> VideoLLM:
    return VideoLLM.from_pretrained(made[0], scorer="tiny", max_pixels=32 * 32)


def test_an_answer_is_that_of_transformers_own_path(made, llm):
    folder, theirs = made
    video = llm.watch(find("sample:star"), frames=6)
    answer = video.ask(QUESTION, plan="prompt-3", max_new_tokens=16)
    assert len(answer.pictures) == 3
    processor = AutoProcessor.from_pretrained(folder)
    assert processor.image_processor.do_image_splitting
    processor.image_processor.do_image_splitting = False  # as its own way with a video
    content = []
    for picture in answer.pictures:
        content += [{"type": "text", "text": picture.words}, {"type": "image"}]
    content.append({"type": "text", "text": QUESTION})
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    images = [Image.fromarray(picture.pixels) for picture in answer.pictures]
    inputs = processor(text=text, images=images, return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    generated = theirs.generate(**inputs, max_new_tokens=16, do_sample=False)
    assert answer.token_ids == tuple(generated[0, length:].tolist())
    assert (answer.prompt_tokens, answer.answer_tokens) == (length, len(answer.token_ids))
    assert answer.evidence.unit == "patches"
    assert answer.timings.prefill > 0


def test_smolvlm_is_asked_without_its_processor_for_videos(tmp_path: Path):
    """The prompt by hand: each picture is its four places between marks; pixels by its own PIL
    image processor."""
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    theirs = write_smolvlm(tmp_path)
    llm = VideoLLM.from_pretrained(tmp_path, scorer="tiny", max_pixels=32 * 32, level="pictures")
    video = llm.watch(find("sample:star"), frames=6)
    answer = video.ask(QUESTION, plan="prompt-3", max_new_tokens=16)
    seen = f"{FAKE} <global-img> {'<image> ' * 4}{FAKE}"
    told = " ".join(f"{picture.words} {seen}" for picture in answer.pictures)
    prompt = f"<s> User: {told} {QUESTION} <end_of_utterance> Assistant:"
    ids = torch.tensor([llm.picture_llm.processor.tokenizer(prompt)["input_ids"]])
    processor = SmolVLMImageProcessorPil.from_pretrained(tmp_path, do_image_splitting=False)
    images = [Image.fromarray(picture.pixels) for picture in answer.pictures]
    given = processor([images], return_tensors="pt")
    generated = theirs.generate(input_ids=ids, **given, attention_mask=torch.ones_like(ids),
                                max_new_tokens=16, do_sample=False)  # fmt: skip
    assert answer.prompt_tokens == ids.shape[1]
    assert answer.token_ids == tuple(generated[0, ids.shape[1] :].tolist())


def test_pictures_reach_the_answer(llm):
    """Other frames, another answer's numbers: the model does look."""
    chat = llm.picture_llm
    star, cuts = (llm.watch(find(f"sample:{name}"), frames=4) for name in ("star", "cuts"))
    inputs = []
    for video in (star, cuts):
        answer = video.ask(QUESTION, plan="uniform-3", max_new_tokens=1)
        request = type("Request", (), {"pictures": answer.pictures, "text": QUESTION})
        inputs.append(chat.inputs_of(request))
    with torch.inference_mode():
        first, second = (chat.model(**given).logits[0, -1] for given in inputs)
    assert (first - second).abs().max() > 1e-4


def test_batches_are_the_single_answers(llm):
    video = llm.watch(find("sample:star"), frames=6)
    pairs = [(video, QUESTION), (video, "is it red ?")]
    together = llm.ask(pairs, plan="paper-small", max_new_tokens=6)
    alone = [video.ask(question, plan="paper-small", max_new_tokens=6) for _, question in pairs]
    assert [a.token_ids for a in together] == [a.token_ids for a in alone]


def test_on_the_command_line_and_in_a_run_s_record(made, llm, capsys):
    words = ["ask", "sample:star", QUESTION, "--model", str(made[0]), "--scorer", "tiny"]
    assert main([*words, "--frames", "4", "--plan", "prompt-3", "--max-new-tokens", "3",
                 "--max-pixels", "1024", "--json"]) == 0  # fmt: skip
    (document,) = json.loads(capsys.readouterr().out)["answers"]
    assert document["evidence"]["unit"] == "patches"
    assert len(document["pictures"]) == 3
    about = describe_model(llm)
    assert about["layout"] == "pictures"
    assert about["fingerprint"].startswith("sha256:")


def test_too_many_pictures_are_told_before_the_model_is_run(made):
    llm = VideoLLM.from_pretrained(made[0], scorer="tiny", max_pixels=10**6)
    video = llm.watch(find("sample:star"), frames=40)
    with pytest.raises(ConfigError, match=r"prompt and answer need .* holds 2048"):
        video.ask(QUESTION, plan="all=all/concat", max_new_tokens=2000)


@pytest.mark.parametrize("case", ["no template", "no weight", "shape", "pickle", "layers", "size"])
def test_what_does_not_fit_is_one_line(made, tmp_path: Path, case: str):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(made[0], tmp_path / "model"))
    weights, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    tensors = load_file(weights)
    words = ""
    if case == "no template":
        (folder / "chat_template.jinja").unlink()
        words = "no chat template"
    elif case == "no weight":
        name = next(n for n in tensors if "q_proj" in n)
        save_file({n: t for n, t in tensors.items() if n != name}, weights, {"format": "pt"})
        words = "tensors are missing"
    elif case == "shape":
        name = next(n for n in tensors if "q_proj" in n)
        save_file(tensors | {name: torch.zeros(3, 3)}, weights, {"format": "pt"})
        words = "model"
    elif case == "pickle":
        weights.unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
        words = "read from safetensors alone"
    elif case == "layers":
        config["text_config"]["num_hidden_layers"] = 10**7
        words = "num_hidden_layers is 10,000,000, but the files hold"
    else:
        config["vision_config"]["hidden_size"] = -4
        words = "hidden_size is a whole number of 1 or more"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=words) as caught:
        VideoLLM.from_pretrained(folder, scorer="tiny")
    assert "\n" not in str(caught.value)


def test_options_of_token_models_are_refused(made):
    for wrong in ({"conv_mode": "plain"}, {"rope_scaling_factor": 2}):
        with pytest.raises(ConfigError, match="for models whose visual tokens we build"):
            VideoLLM.from_pretrained(made[0], scorer="tiny", **wrong)
