"""A small random Idefics3 with its processor, as the Hub's repositories have it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

MARKS = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>",
         *(f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7))]  # fmt: skip
WORDS = ["<unk>", "<pad>", "<s>", "User:", "Assistant:", "Frame", "at", "s:", "0.0", "what", "is",
         "it", "?", "red", "blue", "\n"]  # fmt: skip
TEMPLATE = (
    "<s> {% for m in messages %}User: {% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }} {% else %}<image> {% endif %}{% endfor %}"
    "<end_of_utterance> {% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}"
)


def write_idefics3(folder: Path) -> Idefics3ForConditionalGeneration:
    """The model, which is in the folder too."""
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    vocabulary = {word: number for number, word in enumerate([*WORDS, *MARKS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", bos_token="<s>",
        eos_token="<end_of_utterance>", additional_special_tokens=MARKS,
    )  # fmt: skip
    image_processor = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
    )
    processor = Idefics3Processor(
        image_processor, tokenizer, image_seq_len=4, chat_template=TEMPLATE
    )
    torch.manual_seed(7)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
        },
        text_config={
            "model_type": "llama", "hidden_size": 24, "intermediate_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
            "vocab_size": len(vocabulary), "max_position_embeddings": 2048,
            "bos_token_id": 2, "eos_token_id": vocabulary["<end_of_utterance>"],
            "pad_token_id": 1,
        },
        scale_factor=2, image_token_id=vocabulary["<image>"], pad_token_id=1,
    )  # fmt: skip
    model = Idefics3ForConditionalGeneration(config)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape) * 0.1
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model


def write_smolvlm(folder: Path) -> SmolVLMForConditionalGeneration:
    """A SmolVLM of the same kind, as its repositories have it; its own processor cannot be made
    without torchvision."""
    write_idefics3(folder)
    known = json.loads((folder / "config.json").read_text())
    torch.manual_seed(8)
    config = SmolVLMConfig(
        vision_config=known["vision_config"] | {"model_type": "smolvlm_vision"},
        text_config=known["text_config"],
        scale_factor=2, image_token_id=known["image_token_id"], pad_token_id=1,
    )  # fmt: skip
    model = SmolVLMForConditionalGeneration(config)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape) * 0.1
    model.eval().save_pretrained(folder)
    about = json.loads((folder / "processor_config.json").read_text())
    images = about.pop("image_processor", {}) | {"image_processor_type": "SmolVLMImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    (folder / "processor_config.json").write_text(
        json.dumps({"image_seq_len": 4, "processor_class": "SmolVLMProcessor"})
    )
    return model
