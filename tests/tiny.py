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
        writer.writerow(["image", "labels", "negatives", "caption", "split"])
        for i in range(n_train + n_test):
            present = [name for name in COLOURS if rng.random() < 0.4]
            image = Image.new("RGB", (40, 32), "white")
            for name in present:
                x, y = (int(v) for v in rng.integers(0, 20, 2))
                ImageDraw.Draw(image).rectangle((x, y, x + 9, y + 9), fill=COLOURS[name])
            image.save(folder / f"{i}.png")
            caption = " and ".join(f"a {name}" for name in present)
            split = "train" if i < n_train else "test"
            absent = ";".join(name for name in COLOURS if name not in present)
            writer.writerow([f"{i}.png", ";".join(present), absent, caption, split])
    return f"manifest:{folder / 'images.csv'}"


OWN_TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
WORDS_TEXT = OWN_TEXT | {"vocab_size": 400, "hf_tokenizer_name": "."}
VIT = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
# open_clip's settings of each family, as small as they get.
TOWERS: dict[str, dict[str, object]] = {
    "vit": {"vision_cfg": VIT, "text_cfg": OWN_TEXT, "quick_gelu": True},
    "resnet": {
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": OWN_TEXT,
    },
    "custom": {
        "custom_text": True,
        "vision_cfg": {
            "image_size": 64,
            "timm_model_name": "resnet10t",
            "timm_pool": "avg",
            "timm_proj": "linear",
        },
        "text_cfg": OWN_TEXT,
    },
    "siglip": {
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "embed_dim": 64,
        "text_cfg": WORDS_TEXT
        | {
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    },
    "clipa": {
        "vision_cfg": VIT | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": WORDS_TEXT
        | {
            "tokenizer_kwargs": {"strip_sep_token": True},
            "pool_type": "last",
            "no_causal_mask": True,
        },
    },
    "coca": {
        "custom_text": True,
        "multimodal_cfg": OWN_TEXT | {"layers": 1, "n_queries": 4, "attn_pooler_heads": 2},
        "vision_cfg": VIT
        | {
            "attentional_pool": True,
            "attn_pooler_queries": 4,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        "text_cfg": OWN_TEXT | {"embed_cls": True, "output_tokens": True},
    },
    "hf": {
        "vision_cfg": VIT,
        "text_cfg": {
            "context_length": 24,
            "hf_model_name": ".",
            "hf_tokenizer_name": ".",
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "mlp",
        },
    },
}
INCEPTION = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}


def write_tower(folder: Path, family: str) -> str:
    """A random model of a family as open_clip's ``local-dir:``; returns its name."""
    config = {"embed_dim": 16} | TOWERS[family]
    folder.mkdir(parents=True)
    preprocess = INCEPTION | {"resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    text = dict(config["text_cfg"])  # type: ignore[call-overload]
    if "hf_tokenizer_name" in text:
        # BERT, of which CLIPA makes its ends padding, pads with id 0, RoBERTa with 1.
        start = ["<pad>", "<s>"] if family == "clipa" else ["<s>", "<pad>"]
        write_tokenizer(folder, *start, "</s>")
    if "hf_model_name" in text:
        write_roberta_config(folder)
        text["hf_model_name"] = str(folder)
    torch.manual_seed(0)
    model = open_clip.create_model(
        f"local-dir:{folder}",
        load_weights=False,
        pretrained_text=False,
        text_cfg=text | ({"hf_model_pretrained": False} if "hf_model_name" in text else {}),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[~(parameter.abs() < 10)] = 0  # CoCa's decoder starts from what memory held
            parameter.add_(0.1 * torch.randn_like(parameter)) if parameter.ndim > 0 else None
        if model.logit_bias is not None:
            model.logit_bias.fill_(-3.5)
    state = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def write_tokenizer(folder: Path, *special: str) -> None:
    """A byte-level tokenizer of transformers that learned a few words, and has special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a photo of a dog. X X x x the cat"] * 9, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", special.index("</s>")), ("<s>", special.index("<s>")), add_prefix_space=False
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
    )
    wrapped.save_pretrained(folder)


def write_roberta_config(folder: Path) -> None:
    """What makes transformers build a tiny text tower."""
    from transformers import RobertaConfig

    RobertaConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    ).save_pretrained(folder)


def write_as_file(folder: Path, local: str, name: str) -> Path:
    """A model's weights as a training checkpoint, and its settings as open_clip's model ``name``.

    Settings name files by their whole paths there. The caller adds ``name.json`` to open_clip.
    """
    source = Path(local.removeprefix("local-dir:"))
    config = json.loads((source / "open_clip_config.json").read_text())
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    text = config["model_cfg"]["text_cfg"]
    for key in {"hf_model_name", "hf_tokenizer_name"} & text.keys():
        text[key] = str(source / text[key])
    if "bpe_path" in text.get("tokenizer_kwargs", {}):
        text["tokenizer_kwargs"]["bpe_path"] = str(source / text["tokenizer_kwargs"]["bpe_path"])
    (folder / f"{name}.json").write_text(json.dumps(config["model_cfg"]))
    state = load_file(source / "open_clip_model.safetensors")
    state = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state}, folder / "epoch_3.pt")
    return folder / "epoch_3.pt"
