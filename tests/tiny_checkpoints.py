"""Small random checkpoints in every layout, and the list of tensor names of the original one.

Names and configs are written from the layout's description alone, not with the code under test.
"""

from __future__ import annotations

import io
import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from free_video_llm import VideoLLM
from free_video_llm.video.read import Frames

Tensors = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Tower:
    image: int
    patch: int
    width: int
    layers: int
    inner: int
    heads: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a LLaVA: language model and vision tower."""

    vocabulary: int
    width: int
    layers: int
    inner: int
    heads: int
    kv_heads: int
    tower: Tower
    positions: int = 4096
    language: str = "llama"


CLIP_L_336 = Tower(image=336, patch=14, width=1024, layers=24, inner=4096, heads=16)
VICUNA_7B = Sizes(
    vocabulary=32_000, width=4096, layers=32, inner=11_008, heads=32, kv_heads=32, tower=CLIP_L_336
)
YI_34B = Sizes(
    vocabulary=64_000, width=7168, layers=60, inner=20_480, heads=56, kv_heads=8, tower=CLIP_L_336
)

TINY_TOWER = Tower(image=56, patch=14, width=32, layers=3, inner=48, heads=2)
VICUNA = Sizes(vocabulary=320, width=24, layers=2, inner=40, heads=4, kv_heads=4, tower=TINY_TOWER)
MISTRAL = replace(VICUNA, kv_heads=2, language="mistral")
YI = replace(VICUNA, kv_heads=2, positions=512)


# --- names ---------------------------------------------------------------------------------------


def original_shapes(sizes: Sizes, *, tower: bool = True, newline: bool = True) -> Shapes:
    """Every tensor of an original LLaVA checkpoint and its shape."""
    d, kv = sizes.width, sizes.width // sizes.heads * sizes.kv_heads
    shapes: Shapes = {"model.embed_tokens.weight": (sizes.vocabulary, d), "model.norm.weight": (d,)}
    for i in range(sizes.layers):
        layer = f"model.layers.{i}."
        shapes |= {
            layer + "self_attn.q_proj.weight": (d, d),
            layer + "self_attn.k_proj.weight": (kv, d),
            layer + "self_attn.v_proj.weight": (kv, d),
            layer + "self_attn.o_proj.weight": (d, d),
            layer + "mlp.gate_proj.weight": (sizes.inner, d),
            layer + "mlp.up_proj.weight": (sizes.inner, d),
            layer + "mlp.down_proj.weight": (d, sizes.inner),
            layer + "input_layernorm.weight": (d,),
            layer + "post_attention_layernorm.weight": (d,),
        }
    shapes["lm_head.weight"] = (sizes.vocabulary, d)
    shapes |= _linear("model.mm_projector.0", sizes.tower.width, d)
    shapes |= _linear("model.mm_projector.2", d, d)
    if newline:
        shapes["model.image_newline"] = (d,)
    if tower:
        prefix = "model.vision_tower.vision_tower.vision_model."
        shapes |= {prefix + name: shape for name, shape in tower_shapes(sizes.tower).items()}
    return shapes


def tower_shapes(tower: Tower) -> Shapes:
    """Every tensor of a CLIP vision tower, its norm after the last layer included."""
    c, patches = tower.width, (tower.image // tower.patch) ** 2
    shapes: Shapes = {
        "embeddings.class_embedding": (c,),
        "embeddings.patch_embedding.weight": (c, 3, tower.patch, tower.patch),
        "embeddings.position_embedding.weight": (patches + 1, c),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{norm}.weight": (c,), f"{norm}.bias": (c,)}
    for i in range(tower.layers):
        layer = f"encoder.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(layer + "self_attn." + name, c, c)
        shapes |= _linear(layer + "mlp.fc1", c, tower.inner)
        shapes |= _linear(layer + "mlp.fc2", tower.inner, c)
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}{norm}.weight": (c,), f"{layer}{norm}.bias": (c,)}
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {name + ".weight": (outputs, inputs), name + ".bias": (outputs,)}


def hub_name(name: str) -> str:
    """The name that an original tensor has in the llava-hf repositories (transformers 4)."""
    name = name.replace("model.vision_tower.vision_tower.", "vision_tower.")
    name = name.replace("model.mm_projector.0", "multi_modal_projector.linear_1")
    name = name.replace("model.mm_projector.2", "multi_modal_projector.linear_2")
    name = name.replace("model.image_newline", "image_newline")
    return re.sub(r"^(lm_head|model)\.", r"language_model.\1.", name)


def current_name(name: str) -> str:
    """The parameter's name in transformers 5."""
    name = hub_name(name)
    name = name.replace("language_model.lm_head", "lm_head")
    name = name.replace("language_model.model.", "model.language_model.")
    name = name.replace("vision_tower.vision_model.", "vision_tower.")
    return name if name.startswith(("model.", "lm_head")) else "model." + name


# --- weights -------------------------------------------------------------------------------------


def random_tensors(shapes: Shapes, seed: int = 0) -> Tensors:
    """Float32 tensors of these shapes; norms near one, so that signals survive."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator) * 0.2
        tensors[name] = noise + ("norm" in name and name.endswith("weight"))
    return tensors


def clip_model(tower: Tower = TINY_TOWER, seed: int = 1) -> CLIPModel:
    """A CLIP model with this tower and a text encoder for `write_clip`'s tokenizer."""
    torch.manual_seed(seed)
    vision = {
        "image_size": tower.image,
        "patch_size": tower.patch,
        "hidden_size": tower.width,
        "num_hidden_layers": tower.layers,
        "intermediate_size": tower.inner,
        "num_attention_heads": tower.heads,
    }
    text = {
        "vocab_size": len(_clip_vocabulary()),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "intermediate_size": 24,
        "num_attention_heads": 2,
        "bos_token_id": len(_clip_vocabulary()) - 2,
        "eos_token_id": len(_clip_vocabulary()) - 1,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    for parameter in model.parameters():  # initialised too small to tell frames apart
        parameter.data += torch.randn(parameter.shape) * 0.1
    return model.eval()


def tower_tensors(clip: CLIPModel, prefix: str) -> Tensors:
    """The vision tower of a CLIP model by the names it has inside a LLaVA."""
    return {prefix + name: p.detach().clone() for name, p in clip.vision_model.named_parameters()}


# --- files ---------------------------------------------------------------------------------------


@cache
def _clip_vocabulary() -> tuple[str, ...]:
    letters = [*string.ascii_lowercase, *string.digits, *"?!.,'-"]
    return (*letters, *(x + "</w>" for x in letters), "<|startoftext|>", "<|endoftext|>")


def write_clip(
    folder: Path, model: CLIPModel | None = None, *, ending: str = "safetensors"
) -> Path:
    """A CLIP model with its tokenizer, as OpenAI's repositories have it."""
    folder.mkdir(parents=True, exist_ok=True)
    model = model or clip_model()
    tensors = {name: p.detach().clone() for name, p in model.named_parameters()}
    positions = torch.arange(5)[None]
    tensors["vision_model.embeddings.position_ids"] = positions  # a buffer of old files
    write_tensors(folder, tensors, ending=ending)
    model.config.save_pretrained(folder)
    vocabulary = {text: number for number, text in enumerate(_clip_vocabulary())}
    write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": 77,
        },
    )
    return folder


@cache
def _sentencepiece(chatml: bool) -> bytes:
    """A trained sentencepiece model of 320 pieces; with ChatML's two at 6 and 7, as Yi's has."""
    marks = ["<a>", "<b>", "<c>", "<|im_start|>", "<|im_end|>"] if chatml else []
    names = ("<|startoftext|>", "<|endoftext|>") if chatml else ("<s>", "</s>")
    written = io.BytesIO()
    words = ["the red star", "a blue ring", "what is it doing?", "where does he go", "nothing here"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 4),
        model_writer=written,
        vocab_size=320,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=marks,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        bos_piece=names[0],
        eos_piece=names[1],
        minloglevel=2,
    )
    return written.getvalue()


def write_tokenizer(folder: Path, *, chatml: bool = False) -> None:
    """`tokenizer.model` and what says how to use it, as Vicuna's and LLaVA-34B's have it."""
    (folder / "tokenizer.model").write_bytes(_sentencepiece(chatml))
    if not chatml:
        special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        write_json(folder / "tokenizer_config.json", {"add_bos_token": True, **special})
        return
    marks = {0: "<unk>", 1: "<|startoftext|>", 2: "<|endoftext|>", 7: "<|im_end|>"}
    added = {str(n): {"content": text, "special": True} for n, text in marks.items()}
    added["6"] = {"content": "<|im_start|>", "special": False}
    names = {"bos_token": marks[1], "eos_token": marks[7], "unk_token": marks[0]}
    config = {"add_bos_token": False, "added_tokens_decoder": added, **names}
    write_json(folder / "tokenizer_config.json", config)


def original_config(sizes: Sizes, *, tower: str = "clip", eos: int = 2) -> dict[str, Any]:
    """config.json of the original layout."""
    kind = "llava_mistral" if sizes.language == "mistral" else "llava_llama"
    config = {
        "architectures": [f"Llava{sizes.language.capitalize()}ForCausalLM"],
        "model_type": kind,
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "max_position_embeddings": sizes.positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "bos_token_id": 1,
        "eos_token_id": eos,
        "mm_hidden_size": sizes.tower.width,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": tower,
        "image_grid_pinpoints": [[336, 672]],
    }
    return config | ({"sliding_window": None} if sizes.language == "mistral" else {})


def write_original(
    folder: Path,
    sizes: Sizes = VICUNA,
    *,
    tower_inside: bool = True,
    newline: bool = True,
    clip: CLIPModel | None = None,
    tower: str = "clip",
    chatml: bool = False,
    ending: str = "safetensors",
    shards: int = 1,
    extra: Mapping[str, torch.Tensor] | None = None,
) -> Tensors:
    """A checkpoint in the original layout; returns its tensors. `clip` goes into `clip/`."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = original_shapes(sizes, tower=tower_inside, newline=newline)
    tensors = random_tensors(shapes) | dict(extra or {})
    write_tensors(folder, tensors, ending=ending, shards=shards)
    config = original_config(sizes, tower=tower, eos=7 if chatml else 2)
    write_json(folder / "config.json", config)
    write_tokenizer(folder, chatml=chatml)
    if tower == "clip":
        write_clip(folder / "clip", clip or clip_model(sizes.tower))
    return tensors


def transformers_config(sizes: Sizes, *, newline: bool = True) -> dict[str, Any]:
    """config.json as the llava-hf repositories have it."""
    tower = sizes.tower
    text = {
        "model_type": sizes.language,
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "max_position_embeddings": sizes.positions,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "float16",
        "_name_or_path": "lmsys/vicuna-7b-v1.5",
    }
    vision = {
        "model_type": "clip_vision_model",
        "image_size": tower.image,
        "patch_size": tower.patch,
        "hidden_size": tower.width,
        "num_hidden_layers": tower.layers,
        "intermediate_size": tower.inner,
        "num_attention_heads": tower.heads,
        "projection_dim": 768,
    }
    return {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "model_type": "llava_next" if newline else "llava",
        "image_token_index": sizes.vocabulary,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "text_config": text,
        "vision_config": vision,
        "image_grid_pinpoints": [[336, 672]],
    }


def write_transformers(
    folder: Path,
    tensors: Tensors,
    sizes: Sizes = VICUNA,
    *,
    newline: bool = True,
    old_names: bool = True,
    clip: CLIPModel | None = None,
    **files: Any,
) -> None:
    """The same model in transformers' layout, from its tensors by original names."""
    folder.mkdir(parents=True, exist_ok=True)
    rename = hub_name if old_names else current_name
    write_tensors(folder, {rename(name): t for name, t in tensors.items()}, **files)
    write_json(folder / "config.json", transformers_config(sizes, newline=newline))
    write_tokenizer(folder)
    if clip is not None:
        write_clip(folder / "clip", clip)


def write_tensors(
    folder: Path, tensors: Tensors, *, ending: str = "safetensors", shards: int = 1
) -> None:
    """The weights as one file or several with an index, safetensors or pickles."""
    stem = {"safetensors": "model", "bin": "pytorch_model"}[ending]
    index = {}
    for number in range(shards):
        part = f"-{number + 1:05}-of-{shards:05}" if shards > 1 else ""
        names = list(tensors)[number::shards]
        chosen = {name: tensors[name] for name in names}
        file = folder / f"{stem}{part}.{ending}"
        torch.save(chosen, file) if ending == "bin" else save_file(chosen, file)
        index |= dict.fromkeys(names, file.name)
    if shards > 1:
        write_json(folder / f"{stem}.{ending}.index.json", {"metadata": {}, "weight_map": index})


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values))


def random_frames(count: int = 3, size: int = 56, *, still: bool = False) -> Frames:
    """Frames of noise, as if decoded; all alike if `still`."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    times = np.arange(count)
    return Frames(
        pixels=pixels[:1].repeat(count, 0) if still else pixels,
        seconds=times.astype(np.float64),
        indices=times.astype(np.int64),
        total=count,
        duration=float(count),
        source="noise",
        width=size,
        height=size,
    )


def own_llm(folder: Path) -> VideoLLM:
    """A model of two towers in the original layout, with random weights."""
    write_original(folder)
    return VideoLLM.from_pretrained(folder, conv_mode="plain")
