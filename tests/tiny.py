"""Things small enough to run in a test: a random CLIP, and drawn images with their labels."""

import csv
import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

COLOURS = {
    "red square": "red",
    "green square": "green",
    "blue square": "blue",
    "grey square": "grey",
}


def write_tiny_clip(
    folder: Path, seed: int = 0, vision: dict[str, object] | None = None, **text: object
) -> str:
    """A random CLIP as open_clip's ``local-dir:``; returns its name."""
    config = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 32,
            "head_width": 16,
            "patch_size": 16,
        }
        | (vision or {}),
        "text_cfg": {
            "context_length": 24,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
        }
        | text,
    }
    torch.manual_seed(seed)
    model = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
    # At initialisation positions and projections hardly matter; make every part count.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter)) if parameter.ndim > 0 else None
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "attn_mask"}
    save_file(state, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def write_biased_clip(folder: Path, bias: float) -> str:
    """The same CLIP with a logit bias of its own, as SigLIP has; returns its name."""
    name = write_tiny_clip(folder)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["init_logit_bias"] = -10
    path.write_text(json.dumps(config))
    weights = load_file(folder / "open_clip_model.safetensors")
    save_file(weights | {"logit_bias": torch.tensor(bias)}, folder / "open_clip_model.safetensors")
    return name


def write_drawn_images(folder: Path, n_train: int = 48, n_test: int = 24, seed: int = 0) -> str:
    """Images of coloured squares with a manifest that has captions; returns the data set's name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with (folder / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "labels", "caption", "split"])
        for i in range(n_train + n_test):
            present = [name for name in COLOURS if rng.random() < 0.4]
            image = Image.new("RGB", (40, 32), "white")
            for name in present:
                x, y = (int(v) for v in rng.integers(0, 20, 2))
                ImageDraw.Draw(image).rectangle((x, y, x + 9, y + 9), fill=COLOURS[name])
            image.save(folder / f"{i}.png")
            caption = " and ".join(f"a {name}" for name in present)
            split = "train" if i < n_train else "test"
            writer.writerow([f"{i}.png", ";".join(present), caption, split])
    return f"manifest:{folder / 'images.csv'}"
