"""Train the embedded CLIP (development only; users and CI load the result).

In: the shipped sprite atlases of the pretraining styles and, with ``--extra``, those of other
emoji. Out: ``OUT/state.pt`` (to continue from), ``OUT/log.jsonl`` and, at each evaluation, a folder
that open_clip loads as ``local-dir:OUT/model``.

    python -m ccr_diag.embedded.pretrain OUT --extra EXTRA --steps 22000 --decay 5000

Every batch is images × texts: captions of some of the images, and short prompts of single words
(class names, emoji names, annotators' keywords). A text and an image match when everything that the
text names is in the image; the softmax contrastive loss of CLIP is taken with all matches as
targets.
"""

import argparse
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ccr_diag.causal_text import causal_tower, encode_rows, find_rows
from ccr_diag.data import scenes, sprites
from ccr_diag.embedded.corpus import CAPTIONS, SEED, Batches, Corpus

EVALUATION_TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "a drawing of a {}.", "{}.")
EVALUATION_STYLES = ("noto", "fluent-flat", "twemoji")
REPORT_EVERY = 50  # steps


def cut_vocabulary(texts: Iterator[str], path: Path) -> None:
    """Write the merges of CLIP's byte-pair encoding that these texts use, in their old order.

    A merge that some word needs was open to every other word before, so known words keep their
    pieces; unknown words fall into smaller ones.
    """
    full = open_clip.SimpleTokenizer()
    ranks, used = full.bpe_ranks, set()
    for text in texts:
        for token in full.pat.findall(text.lower()):
            symbols = [full.byte_encoder[b] for b in token.encode()]
            symbols[-1] += "</w>"
            while len(symbols) > 1:
                pair = min(
                    zip(symbols, symbols[1:], strict=False), key=lambda p: ranks.get(p, len(ranks))
                )
                if pair not in ranks:
                    break
                used.add(pair)
                merged, i = [], 0
                while i < len(symbols):
                    joined = tuple(symbols[i : i + 2]) == pair
                    merged.append("".join(pair) if joined else symbols[i])
                    i += 2 if joined else 1
                symbols = merged
    lines = [
        "#version: 0.2, the merges of CLIP's bpe_simple_vocab_16e6 (MIT, OpenAI) "
        "that the embedded CLIP's texts use"
    ]
    lines += [" ".join(pair) for pair in sorted(used, key=ranks.__getitem__)]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def model_config(vocab_size: int) -> dict[str, Any]:
    """What open_clip needs to build the model and its preprocessing."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {
                "timm_model_name": "resnet10t", "timm_model_pretrained": False,
                "timm_pool": "avg", "timm_proj": "linear", "image_size": scenes.SIZE,
            },
            "text_cfg": {
                "context_length": 32, "vocab_size": vocab_size,
                "width": 128, "heads": 4, "layers": 3,
                "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"},
            },
        },
        "preprocess_cfg": {
            "mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD),
            "interpolation": "bicubic", "resize_mode": "shortest",
        },
    }  # fmt: skip


def contrastive_loss(
    logits: Float[Tensor, "texts images"], match: Bool[Tensor, "texts images"]
) -> Float[Tensor, ""]:
    """CLIP's loss with many matches, the mean of a loss a text and a loss an image.

    Of a text: −(mean over its matching images of log softmax over images); of an image the same
    with the roles exchanged, over the images that some text matches.

    Args:
        logits: scale · cosine, (texts, images).
        match: which pairs match, (texts, images).
    """
    weight = match.to(logits.dtype)
    of_text = -(weight * F.log_softmax(logits, dim=1)).sum(1) / weight.sum(1).clamp(min=1)
    of_image = -(weight * F.log_softmax(logits, dim=0)).sum(0) / weight.sum(0).clamp(min=1)
    return (of_text.mean() + of_image[match.any(0)].mean()) / 2


def normalised(
    images: UInt8[Tensor, "images height width 3"],
) -> Float[Tensor, "images 3 height width"]:
    """CLIP's input from pixels 0…255, channels last in memory."""
    mean, std = (
        torch.tensor(v) * 255 for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


@torch.no_grad()
def class_embedding(
    model: open_clip.CLIP, tokenizer: open_clip.SimpleTokenizer, name: str
) -> Float[Tensor, " dim"]:
    """The mean of a class's unit text embeddings over the evaluation templates, unit length."""
    ids = tokenizer([template.format(name) for template in EVALUATION_TEMPLATES])
    return F.normalize(F.normalize(model.encode_text(ids), dim=-1).mean(0), dim=-1)


@torch.no_grad()
def zero_shot_map(
    model: open_clip.CLIP, tokenizer: open_clip.SimpleTokenizer, style: str, n_images: int
) -> float:
    """Mean average precision (percent) over the classes on test scenes of a style."""
    from sklearn.metrics import average_precision_score

    model.eval()
    inventory, bank = scenes.class_inventory(style), sprites.load_bank(style)
    texts = torch.stack([class_embedding(model, tokenizer, name) for name in inventory.names])
    scores, labels = [], []
    for batch in scenes.batches(n_images, 250):
        images, y = scenes.draw_scenes(bank, inventory, SEED + 1, batch)
        features = F.normalize(model.encode_image(normalised(torch.from_numpy(images))), dim=-1)
        scores.append((features @ texts.T).numpy())
        labels.append(y)
    model.train()
    y, s = np.concatenate(labels), np.concatenate(scores)
    seen = np.flatnonzero(y.sum(0))
    return 100 * float(np.mean([average_precision_score(y[:, c], s[:, c]) for c in seen]))


def learning_rate(step: int, steps: int, decay: int, peak: float, warm_up: int = 400) -> float:
    """Warm up, hold, then fall linearly to zero over the last ``decay`` steps.

    So a run can be prolonged before it decays.

    Args:
        step: steps done.
        steps: steps in all.
        decay: steps of the fall.
        peak: the rate that is held.
        warm_up: steps of the warm-up.
    """
    return peak * min(1.0, (step + 1) / warm_up, max(0.0, steps - step) / decay)


def save(model: open_clip.CLIP, folder: Path) -> None:
    """The float16 weights beside their configuration."""
    from safetensors.torch import save_file

    tensors = {
        k: v.half().contiguous() if v.is_floating_point() else v
        for k, v in model.state_dict().items()
        if k != "attn_mask"
    }
    save_file(tensors, folder / "open_clip_model.safetensors.new")
    (folder / "open_clip_model.safetensors.new").rename(folder / "open_clip_model.safetensors")


def parse_flags() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--extra", type=Path)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--decay", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=192)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--evaluate-every", type=int, default=500)
    parser.add_argument("--evaluation-images", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def build_tokenizer(corpus: Corpus, folder: Path) -> open_clip.SimpleTokenizer:
    """The tokenizer of the folder's vocabulary, which is cut first where there is none."""
    path = folder / "bpe.txt.gz"
    if not path.exists():
        cut_vocabulary(corpus.texts(), path)
    return open_clip.SimpleTokenizer(bpe_path=str(path), context_length=32)


def build_model(vocab_size: int, folder: Path) -> open_clip.CLIP:
    """A model at its random start; the configuration to load it with goes to the folder."""
    config = model_config(vocab_size)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    cfg = config["model_cfg"]
    text_cfg = {k: v for k, v in cfg["text_cfg"].items() if k != "tokenizer_kwargs"}
    model = open_clip.CLIP(cfg["embed_dim"], cfg["vision_cfg"], text_cfg).train()
    model.visual.to(memory_format=torch.channels_last)
    return model


def build_optimizer(model: open_clip.CLIP) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, but no biases, gains or the logit scale."""
    no_decay = [p for p in model.parameters() if p.ndim < 2]
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": no_decay, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=True,
    )


def resume(path: Path, model: open_clip.CLIP, optimizer: torch.optim.AdamW) -> int:
    """Take up a saved state, if there is one; returns the steps done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def train_step(
    model: open_clip.CLIP, optimizer: torch.optim.AdamW, batch: dict[str, Tensor], rate: float
) -> float:
    """One step of AdamW at this learning rate; returns the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    tower = causal_tower(model)
    assert tower is not None, "CONFIG is of a causal tower"
    with torch.autocast("cpu", torch.bfloat16):
        image_features = model.encode_image(normalised(batch["images"]), normalize=True)
        texts = [
            encode_rows(tower, find_rows(tower, ids, torch.full_like(ids, -1)), None)
            for ids in torch.split(batch["ids"], CAPTIONS)
        ]
    text_features = F.normalize(torch.cat(texts).float(), dim=-1)
    logits = model.logit_scale.exp() * text_features @ image_features.float().T
    loss = contrastive_loss(logits, batch["match"])
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, float(np.log(100)))
    return loss.item()


def evaluate(
    model: open_clip.CLIP, tokenizer: open_clip.SimpleTokenizer, n_images: int
) -> dict[str, Any]:
    """The model's scale, and its zero-shot mAP on this many test scenes of each style."""
    found = {
        style: round(zero_shot_map(model, tokenizer, style, n_images), 2)
        for style in EVALUATION_STYLES
    }
    return {"scale": round(model.logit_scale.exp().item(), 2), "mAP": found}


def save_progress(
    out: Path, row: dict[str, Any], model: open_clip.CLIP, optimizer: torch.optim.AdamW
) -> None:
    """Append the row to the log, and save what to continue from and what to load."""
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": row["step"],
    }
    torch.save(state, out / "state.pt.new")
    (out / "state.pt.new").rename(out / "state.pt")
    save(model, out / "model")


def main() -> None:
    """Train, or continue where ``OUT/state.pt`` stands."""
    args = parse_flags()
    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    folder = args.out / "model"
    folder.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(args.extra)
    tokenizer = build_tokenizer(corpus, folder)
    model = build_model(tokenizer.vocab_size, folder)
    optimizer = build_optimizer(model)
    start = resume(args.out / "state.pt", model, optimizer)
    batches = Batches(corpus, tokenizer, args.batch_size, start, args.steps)
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)
    began, losses = time.time(), []
    for done, batch in enumerate(loader, start + 1):
        rate = learning_rate(done - 1, args.steps, args.decay, args.learning_rate)
        losses.append(train_step(model, optimizer, batch, rate))
        if done % REPORT_EVERY == 0:
            speed = (done - start) * args.batch_size / (time.time() - began)
            print(done, round(sum(losses) / len(losses), 4), f"{speed:.0f} img/s", flush=True)
            losses = []
        if done % args.evaluate_every == 0 or done == args.steps:
            found = evaluate(model, tokenizer, args.evaluation_images)
            row = {"step": done, "minutes": round((time.time() - began) / 60, 1), **found}
            save_progress(args.out, row, model, optimizer)
            print(row, flush=True)


if __name__ == "__main__":
    main()
