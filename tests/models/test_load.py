"""Both layouts, in every form that they are published in, load to the same model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from free_video_llm import VideoLLM
from free_video_llm.errors import CheckpointError, ConfigError, MissingExtraError
from free_video_llm.models import llava_layout
from free_video_llm.models.folder import TINY, find_folder
from free_video_llm.models.llava import matching_scorer
from free_video_llm.models.load import Loaded, LoadOptions, load
from tiny_checkpoints import (
    CLIP_L_336,
    MISTRAL,
    VICUNA,
    YI,
    clip_model,
    current_name,
    random_frames,
    random_tensors,
    tower_shapes,
    tower_tensors,
    transformers_config,
    write_clip,
    write_original,
    write_transformers,
)

INSIDE = "model.vision_tower.vision_tower.vision_model."
SPOKEN = {"plan": "slow=prompt:2/spatial_1d_max_pool/crop:0.5+fast=all/adaptive_2d_pool:2x2"}


def answer(folder: Path | str, **options: object) -> tuple[int, ...]:
    llm = VideoLLM.from_pretrained(folder, **options)
    said = llm.watch(random_frames()).ask("where does he go?", max_new_tokens=8, **SPOKEN)
    return said.token_ids


def assert_holds(loaded: Loaded, tensors: dict[str, torch.Tensor]) -> None:
    """The model has exactly these tensors (by original names), bit for bit."""
    parameters = dict(loaded.llm.model.named_parameters())
    for name, tensor in tensors.items():
        assert torch.equal(parameters[current_name(name)], tensor), name


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """v1.6 on Vicuna: one safetensors file, a tower of its own inside, CLIP beside."""
    folder = tmp_path_factory.mktemp("plain")
    write_original(folder)
    return folder


@pytest.fixture(scope="module")
def plain_answer(plain: Path) -> tuple[int, ...]:
    return answer(plain)


# --- the original layout -------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_original_loads_from_any_files(
    tmp_path: Path, ending: str, shards: int, plain_answer: tuple[int, ...]
) -> None:
    tensors = write_original(tmp_path, ending=ending, shards=shards)
    loaded = load(tmp_path)
    assert loaded.layout == "original"
    assert loaded.conv_mode == "image_seq_v3"
    assert type(loaded.llm.model).__name__ == "LlavaNextForConditionalGeneration"
    assert_holds(loaded, tensors)
    assert answer(tmp_path) == plain_answer


def test_pickles_from_before_pytorch_1_6_load(tmp_path: Path) -> None:
    tensors = write_original(tmp_path, ending="bin")
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert_holds(load(tmp_path), tensors)


def test_buffers_of_old_checkpoints_are_passed_over(tmp_path: Path) -> None:
    extra = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3),
        INSIDE + "embeddings.position_ids": torch.arange(17)[None],
    }
    tensors = write_original(tmp_path, extra=extra)
    assert_holds(load(tmp_path), {n: t for n, t in tensors.items() if n not in extra})


def test_v1_5_has_its_tower_beside_and_no_newline(tmp_path: Path) -> None:
    tensors = write_original(tmp_path, tower_inside=False, newline=False)
    loaded = load(tmp_path)
    assert type(loaded.llm.model).__name__ == "LlavaForConditionalGeneration"
    assert_holds(loaded, tensors)
    assert loaded.towers.shared


@pytest.mark.parametrize(
    ("sizes", "chatml", "conv_mode"),
    [(MISTRAL, False, "image_seq_mistral_v3"), (YI, True, "image_seq_34b_v3")],
)
def test_mistral_and_yi(tmp_path: Path, sizes: object, chatml: bool, conv_mode: str) -> None:
    tensors = write_original(tmp_path, sizes, chatml=chatml)
    loaded = load(tmp_path)
    assert_holds(loaded, tensors)
    assert loaded.conv_mode == conv_mode
    text = loaded.llm.model.config.text_config
    assert (text.model_type, text.num_key_value_heads) == (sizes.language, 2)
    assert loaded.llm.model.generation_config.eos_token_id == (7 if chatml else 2)
    assert len(answer(tmp_path)) > 0


def test_a_folders_name_does_not_choose_the_prompt(plain: Path, tmp_path: Path) -> None:
    """/home/yi-lin/34b/mistral is where it lies, not what it is."""
    folder = tmp_path / "yi-lin" / "34b-mistral"
    folder.parent.mkdir()
    folder.symlink_to(plain)
    assert load(folder).conv_mode == "image_seq_v3"


def test_the_tower_is_found_inside_of_the_checkpoint(tmp_path: Path) -> None:
    write_clip(tmp_path / "llava" / "towers" / "tiny-clip")
    write_original(tmp_path / "llava", tower="towers/tiny-clip", tower_inside=False)
    assert load(tmp_path / "llava").towers.shared


# --- transformers' layout ------------------------------------------------------------------------


@pytest.mark.parametrize("newline", [True, False])
@pytest.mark.parametrize("old_names", [True, False])
def test_transformers_layout(tmp_path: Path, newline: bool, old_names: bool) -> None:
    tensors = write_original(tmp_path / "original", newline=newline)
    write_transformers(
        tmp_path / "hf", tensors, newline=newline, old_names=old_names, clip=clip_model(), shards=2
    )
    loaded = load(tmp_path / "hf")
    assert loaded.layout == "transformers"
    assert loaded.llm.model.config.model_type == ("llava_next" if newline else "llava")
    assert_holds(loaded, tensors)
    assert answer(tmp_path / "hf") == answer(tmp_path / "original")


def test_what_transformers_itself_saves_loads(plain: Path, tmp_path: Path) -> None:
    first = load(plain)
    first.llm.model.save_pretrained(tmp_path)
    for file in plain.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    again = load(tmp_path, LoadOptions(scorer=str(plain / "clip")))
    for (name, ours), (_, theirs) in zip(
        first.llm.model.named_parameters(), again.llm.model.named_parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


# --- the scoring model ---------------------------------------------------------------------------


def test_towers_that_are_equal_are_one(tmp_path: Path) -> None:
    """Inside the checkpoint as well as beside it, and for both layouts."""
    clip = clip_model()
    tensors = write_original(tmp_path / "o", clip=clip, extra=tower_tensors(clip, INSIDE))
    write_transformers(tmp_path / "t", tensors, clip=clip)
    for folder in (tmp_path / "o", tmp_path / "t"):
        loaded = load(folder)
        assert loaded.towers.shared
        assert loaded.towers.llm_tower is loaded.towers.scorer.tower
        assert loaded.llm.model.model.vision_tower is loaded.towers.scorer.tower


def test_towers_that_differ_in_one_bit_are_two(tmp_path: Path) -> None:
    clip = clip_model()
    extra = tower_tensors(clip, INSIDE)
    extra[INSIDE + "pre_layrnorm.bias"][0] = torch.nextafter(
        extra[INSIDE + "pre_layrnorm.bias"][0], torch.tensor(9.0)
    )
    write_original(tmp_path, clip=clip, extra=extra)
    loaded = load(tmp_path)
    assert not loaded.towers.shared
    assert loaded.towers.llm_tower is loaded.llm.model.model.vision_tower


def test_a_scorer_can_be_set_by_hand(plain: Path, tmp_path: Path) -> None:
    other = clip_model(replace(VICUNA.tower, width=16, image=28), seed=5)
    write_clip(tmp_path / "other", other)
    loaded = load(plain, LoadOptions(scorer=str(tmp_path / "other")))
    assert loaded.towers.scorer.model.config.vision_config.hidden_size == 16
    assert loaded.towers.llm_tower.config.hidden_size == 32
    assert len(answer(plain, scorer=str(tmp_path / "other"))) > 0


def test_a_scorer_by_hand_does_not_replace_a_tower_beside(tmp_path: Path) -> None:
    own = clip_model(seed=7)
    write_original(tmp_path / "llava", tower_inside=False, clip=own)
    write_clip(tmp_path / "other", clip_model(seed=8))
    loaded = load(tmp_path / "llava", LoadOptions(scorer=str(tmp_path / "other")))
    tower = dict(loaded.towers.llm_tower.named_parameters())
    for name, parameter in own.vision_model.named_parameters():
        assert torch.equal(tower[name], parameter)


@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_a_scorer_is_found_by_the_towers_geometry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """Where the tower's path is of another machine, or (transformers) there is none."""
    clip = clip_model()
    tensors = write_original(tmp_path / "o", tower="/data/models/clip-336", clip=clip)
    write_transformers(tmp_path / "t", tensors)
    asked = []

    def download(name: str, **_: object) -> str:
        asked.append(name)
        return str(write_clip(tmp_path / "hub", clip))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setitem(llava_layout.CLIP_BY_GEOMETRY, (56, 14, 32), "openai/clip-tiny")
    load(tmp_path / layout[0])
    assert asked == ["openai/clip-tiny"]


def test_the_geometry_of_llavas_tower_is_known(tmp_path: Path) -> None:
    config = LlavaConfig.from_dict(transformers_config(replace(VICUNA, tower=CLIP_L_336)))
    assert matching_scorer(tmp_path, config) == "openai/clip-vit-large-patch14-336"
    shapes = tower_shapes(replace(CLIP_L_336, layers=1))
    assert shapes["embeddings.position_embedding.weight"] == (577, 1024)


# --- the Hub -------------------------------------------------------------------------------------


def cache_entry(cache: Path, name: str) -> Path:
    """An empty snapshot of a repository in a Hub cache."""
    root = cache / ("models--" + name.replace("/", "--"))
    commit = "0" * 40
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    (root / "snapshots" / commit).mkdir(parents=True)
    return root / "snapshots" / commit


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache


def test_hub_ids_load_from_the_local_cache(hub_cache: Path, plain_answer: tuple[int, ...]) -> None:
    """The checkpoint, and the tower that its config names by Hub id, a pickle as OpenAI's is."""
    write_clip(cache_entry(hub_cache, "openai/clip-tiny"), ending="bin")
    write_original(cache_entry(hub_cache, "liuhaotian/llava-tiny"), tower="openai/clip-tiny")
    assert answer("liuhaotian/llava-tiny") == plain_answer
    assert find_folder("liuhaotian/llava-tiny/") == find_folder("liuhaotian/llava-tiny")


def test_a_hub_id_that_is_not_there(hub_cache: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'nobody/nothing'.*network") as caught:
        find_folder("nobody/nothing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no/such/folder", "./nothing", "/no/folder", "nothing", ""])
def test_a_name_that_is_neither_folder_nor_hub_id(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"give 'tiny', a folder that exists, or a Hub id"):
        find_folder(name + "/x/y" if name == "" else name)


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_maps(plain: Path, device_map: object, plain_answer: tuple[int, ...]) -> None:
    assert answer(plain, device_map=device_map) == plain_answer


@pytest.mark.parametrize(
    ("there", "options", "device_map", "dtype"),
    [
        ((), {}, None, "float32"),
        (("mps",), {}, {"": "mps"}, "float16"),
        (("mps",), {"device": "cpu"}, {"": "cpu"}, "float32"),
        (("cuda",), {}, {"": 0}, "float16"),
        (("cuda", "mps"), {"device": "mps"}, {"": "mps"}, "float16"),
        (("cuda",), {"device": "cuda:0", "dtype": "bfloat16"}, {"": "cuda:0"}, "bfloat16"),
        (("cuda",), {"device": "cpu"}, {"": "cpu"}, "float32"),
        (("cuda",), {"device_map": "cpu"}, "cpu", "float32"),
        (("cuda",), {"device_map": "auto"}, "auto", "float16"),
        ((), {"device_map": "auto"}, "auto", "float32"),
        (("cuda",), {"device_map": {"": "cpu"}}, {"": "cpu"}, "float32"),
    ],
)
def test_where_a_model_is_put_and_how_exact(monkeypatch, there, options, device_map, dtype) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: "cuda" in there)
    monkeypatch.setattr("torch.cuda.device_count", lambda: int("cuda" in there))
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: "mps" in there)
    placed = LoadOptions(**options).placement()
    assert placed.get("device_map") == device_map
    assert placed["dtype"] == getattr(torch, dtype)
    scorer = LoadOptions(**options).scorer_placement().get("device_map")
    spread = device_map == "auto"
    assert scorer == (({"": 0} if there else None) if spread else device_map)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cpu", "device_map": "cpu"}, "choose device or device_map, not both"),
        ({"device": "auto"}, "device is one device: auto is for device_map"),
        ({"device": 0}, "device is a name such as 'cuda:0', not 0"),
        ({"device": "cpuu"}, "unknown device 'cpuu'"),
        ({"device": "mps"}, "device 'mps': this machine has no mps devices"),
    ],
)
def test_a_device_that_is_none(options, words) -> None:
    with pytest.raises(ConfigError) as caught:
        LoadOptions(**options)
    assert words in str(caught.value)


def test_a_model_on_the_cpu_by_name(plain: Path, plain_answer: tuple[int, ...]) -> None:
    assert answer(plain, device="cpu") == plain_answer


def test_a_device_map_that_does_not_work(plain: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot build the model") as caught:
        load(plain, LoadOptions(device_map={"": "disk"}))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
@pytest.mark.parametrize(
    ("device_map", "words"),
    [
        ("nowhere", "unknown device 'nowhere'"),
        ("cuda", "device 'cuda': this machine has no cuda devices; use cpu"),
        ({"": "cuda:0"}, "device 'cuda:0': this machine has no cuda devices"),
        (0, "device '0': this machine has no cuda devices"),
        (1.5, "device_map is a device, 'auto', or a mapping"),
    ],
)
def test_a_device_that_is_not_there_is_told_before_anything_is_loaded(device_map, words) -> None:
    with pytest.raises(ConfigError) as caught:
        LoadOptions(device_map=device_map)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(plain: Path, dtype: str) -> None:
    loaded = load(plain, LoadOptions(dtype=dtype))
    wanted = getattr(torch, dtype)
    for module in (loaded.llm.model, loaded.towers.scorer.model):
        assert {p.dtype for p in module.parameters()} == {wanted}


@pytest.mark.parametrize("bits", [8, 4])
def test_fewer_bits_need_a_gpu(plain: Path, monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"{bits}-bit loading needs a CUDA GPU"):
        load(plain, LoadOptions(**{f"load_in_{bits}bit": True}))


@pytest.mark.parametrize("bits", [8, 4])
def test_fewer_bits_need_bitsandbytes(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'free-video-llm\[quantize\]'"):
        LoadOptions(**{f"load_in_{bits}bit": True}).placement()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "float32, float16, bfloat16"),
        ({"load_in_8bit": True, "load_in_4bit": True}, "not both"),
        ({"rope_scaling_factor": 0.5}, "1 or more"),
        ({"rope_scaling_factor": float("nan")}, "1 or more"),
        ({"conv_mode": "image_seq_v4"}, "did you mean 'image_seq_v3'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoadOptions(**options)


def test_a_conv_mode_by_hand_or_noted_beside(plain: Path, tmp_path: Path) -> None:
    assert load(plain, LoadOptions(conv_mode="plain")).conv_mode == "plain"
    write_original(tmp_path)
    (tmp_path / "free_video_llm.json").write_text(json.dumps({"conv_mode": "plain"}))
    assert load(tmp_path).conv_mode == "plain"


def test_normalisation_is_the_checkpoints_own(tmp_path: Path) -> None:
    write_original(tmp_path)
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    towers = load(tmp_path).towers
    assert towers.normalisation.mean == (0.1, 0.2, 0.3)
    assert towers.scorer.normalisation.mean[0] == pytest.approx(0.4815, abs=1e-4)


def test_random_tensors_differ_by_seed() -> None:
    """What the other tests compare is not all alike."""
    first, second = (random_tensors({"a.weight": (4, 4)}, seed)["a.weight"] for seed in (0, 1))
    assert not torch.equal(first, second)


def write_qwen(folder: Path, chat: str | None) -> None:
    """A transformers LLaVA on a language model that no released prompt is for."""
    shutil.copytree(TINY, folder)
    config = LlavaConfig.from_pretrained(folder)
    config.text_config = Qwen2Config(
        vocab_size=100, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4096,
    )  # fmt: skip
    config.image_token_id = 99
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    for name in ("tokenizer.model", "free_video_llm.json", "special_tokens_map.json"):
        (folder / name).unlink()
    words = {word: number for number, word in enumerate(["<unk>", "</s>", *"abcdefghij"])}
    fast = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=fast, unk_token="<unk>", eos_token="</s>", chat_template=chat
    )
    tokenizer.save_pretrained(folder)


def test_an_unknown_language_model_gets_its_own_chat_template_or_is_refused(tmp_path: Path) -> None:
    chat = "{{ messages[0].content }} a b"
    write_qwen(tmp_path / "chat", chat)
    llm = VideoLLM.from_pretrained(tmp_path / "chat")
    assert llm.conv_mode == "chat"
    answer = llm.watch("sample:star", frames=3).ask("a b?", plan="uniform-3", max_new_tokens=2)
    assert answer.prompt.startswith("<image>\nThe input consists of")
    assert answer.prompt.endswith("a b? a b")
    write_qwen(tmp_path / "bare", None)
    with pytest.raises(CheckpointError, match=r"no prompt is known .* 'qwen2'.* conv_mode"):
        load(tmp_path / "bare")
    assert load(tmp_path / "bare", LoadOptions(conv_mode="plain")).conv_mode == "plain"
