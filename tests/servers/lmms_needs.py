"""What lmms-eval needs, without what our paths through it do not import: torchvision (which comes
only beside CUDA builds of torch), what needs it, and tools of its developers."""

from importlib.metadata import requires

LEFT_OUT = ("torchvision", "timm", "pre-commit", "ruff", "wandb")

if __name__ == "__main__":
    for need in requires("lmms-eval") or ():
        if "extra ==" not in need and not need.lower().startswith(LEFT_OUT):
            print(need)
    print("filelock==3.20.0")  # it reaches into a module that later ones do not have
