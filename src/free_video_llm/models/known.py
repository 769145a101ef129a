"""The image LLMs that this is made for: size, memory, licence. Plain facts, no imports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageModel:
    """One image LLM. `billions` counts all parameters, vision tower included."""

    name: str
    billions: float
    licence: str
    note: str
    original: str = ""  # Hub id of the original LLaVA layout

    @property
    def download_gb(self) -> float:
        """Gigabytes that are fetched, about: weights of 16 bit, and the small default scorer."""
        return 2 * self.billions + 0.6

    def memory_gb(self, bits: int = 16) -> float:
        """Gigabytes for the weights, the scoring model (0.43 billion) and working space."""
        weights = self.billions * bits / 8
        scorer = 0.43 * max(bits, 16) / 8
        return (weights + scorer) * 1.1 + 0.5


MODELS: tuple[ImageModel, ...] = (
    ImageModel("tiny", 0.003, "Apache-2.0", "embedded; knows only coloured shapes"),
    ImageModel(
        "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
        0.26,
        "Apache-2.0",
        "the smallest that knows the world",
    ),
    ImageModel(
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        0.51,
        "Apache-2.0",
        "",
    ),
    ImageModel(
        "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        0.89,
        "Apache-2.0",
        "made for video too",
    ),
    ImageModel("OpenGVLab/InternVL3-1B-hf", 0.94, "Apache-2.0", ""),
    ImageModel("Qwen/Qwen3-VL-2B-Instruct", 2.13, "Apache-2.0", "made for video too"),
    ImageModel("Qwen/Qwen2.5-VL-3B-Instruct", 3.75, "Qwen Research", "not for commerce"),
    ImageModel("google/gemma-3-4b-it", 4.3, "Gemma", ""),
    ImageModel("Qwen/Qwen3-VL-4B-Instruct", 4.44, "Apache-2.0", "made for video too"),
    ImageModel(
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
        8.03,
        "Apache-2.0",
        "made for video too",
    ),
    ImageModel("Qwen/Qwen2.5-VL-7B-Instruct", 8.29, "Apache-2.0", "made for video too"),
    ImageModel("Qwen/Qwen3-VL-8B-Instruct", 8.77, "Apache-2.0", "made for video too"),
    ImageModel(
        "llava-hf/llava-v1.6-vicuna-7b-hf",
        7.06,
        "Llama 2",
        "the paper's 7B",
        "liuhaotian/llava-v1.6-vicuna-7b",
    ),
    ImageModel(
        "llava-hf/llava-v1.6-mistral-7b-hf",
        7.57,
        "Apache-2.0",
        "same size, open licence",
        "liuhaotian/llava-v1.6-mistral-7b",
    ),
    ImageModel(
        "llava-hf/llava-v1.6-vicuna-13b-hf",
        13.35,
        "Llama 2",
        "",
        "liuhaotian/llava-v1.6-vicuna-13b",
    ),
    ImageModel(
        "llava-hf/llava-v1.6-34b-hf",
        34.75,
        "Apache-2.0 (Yi)",
        "the paper's 34B",
        "liuhaotian/llava-v1.6-34b",
    ),
    ImageModel(
        "llava-hf/llava-1.5-7b-hf",
        7.06,
        "Llama 2",
        "frozen tower: one tower pass serves both",
        "liuhaotian/llava-v1.5-7b",
    ),
    ImageModel(
        "llava-hf/llava-1.5-13b-hf",
        13.35,
        "Llama 2",
        "frozen tower",
        "liuhaotian/llava-v1.5-13b",
    ),
)
