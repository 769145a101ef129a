"""What this package needs, without what vLLM brings in versions of its own."""

from importlib.metadata import requires

LEFT_OUT = ("torch", "transformers", "tokenizers", "pillow", "numpy", "huggingface")

if __name__ == "__main__":
    for need in requires("free-video-llm") or ():
        if "extra ==" not in need and not need.lower().startswith(LEFT_OUT):
            print(need)
