"""Train the embedded CLIP (development only; users and CI load the result).

In: the shipped sprite atlases of the pretraining styles and, with ``--extra``, those of other emoji.
Out: ``OUT/state.pt`` (to continue from), ``OUT/log.jsonl`` and, at each evaluation, a folder that open_clip
loads as ``local-dir:OUT/model``.

    python -m ccr_diag.embedded.pretrain OUT --extra EXTRA --steps 22000 --decay 5000

Every batch is images × texts: captions of some of the images, and short prompts of single words (class
names, emoji names, annotators' keywords). A text and an image match when everything that the text names is
in the image; the softmax contrastive loss of CLIP is taken with all matches as targets.
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
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from ccr_diag.data import scenes

HERE = Path(__file__).parent
STYLES = ("noto", "noto-v1", "fluent-flat", "fluent-3d")
SEED = 20260
CAPTIONS, PROMPTS = 48, 128  # texts a batch
EXTRA_SHARE = 0.25  # share of scenes whose theme is “other emoji”
PROMPT_TEMPLATES = (
    "{}", "{}.", "a {}.", "the {}.", "a photo of a {}.", "a picture of a {}.", "a drawing of a {}.", "an icon of a {}.",
    "a photo of the {}.", "a scene with a {}.", "there is a {} in the picture.", "a picture that shows a {}.",
    "one of the things that you can see in this small colourful picture is a {}.",
    "among other things on a soft and colourful background the picture shows a {}.",
)  # fmt: skip
CAPTION_TEMPLATES = (
    "{}.", "a picture of {}.", "a photo of {}.", "a scene with {}.", "{} on a soft background.",
    "in this small colourful picture you can see {}.",
)  # fmt: skip
EVALUATION_TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "a drawing of a {}.", "{}.")


class Corpus:
    """Sprites of all pretraining styles as one inventory, with the words that each class of sprite bears."""

    def __init__(self, extra: Path | None) -> None:
        base = scenes.class_inventory(STYLES[0], theme_exponent=0.0, class_exponent=0.25)
        cells, sprites_of_class = [], [list[int]() for _ in base.names]
        words: list[list[set[str]]] = []  # words of each bank row
        self.names = list(base.names)
        theme_of_class, class_share = base.theme_of_class.tolist(), base.class_share.tolist()
        row_words: list[list[str]] = []
        for folder in [HERE / "sprites", extra]:
            if folder is None:
                continue
            index = json.loads((folder / "index.json").read_text())
            first = len(self.names)
            if folder == extra:
                self.names += [s["name"] for s in index["sprites"]]
                sprites_of_class += [list[int]() for _ in index["sprites"]]
                theme_of_class += [len(base.theme_share)] * len(index["sprites"])
                class_share += [1 / len(index["sprites"])] * len(index["sprites"])
            number = {name: i for i, name in enumerate(self.names[:first])}
            for style in STYLES:
                missing = set(index["styles"][style]["missing"])
                for i, (sprite, cell) in enumerate(
                    zip(index["sprites"], scenes.load_cells(folder, style), strict=True)
                ):
                    if sprite["emoji"] not in missing:
                        sprites_of_class[
                            first + i if folder == extra else number[sprite["name"]]
                        ].append(len(cells))
                        cells.append(cell)
                        row_words.append([sprite["name"], *sprite["tags"]])
        del words
        n_themes = len(base.theme_share)
        theme_share = (
            np.full(n_themes, 1 / n_themes)
            if extra is None
            else np.array([(1 - EXTRA_SHARE) / n_themes] * n_themes + [EXTRA_SHARE])
        )
        self.inventory = scenes.Inventory(
            tuple(self.names),
            np.array(theme_of_class),
            np.array(class_share),
            theme_share,
            tuple(tuple(s) for s in sprites_of_class),
        )
        self.cells = np.stack(cells)
        self.concepts = sorted({w for ws in row_words for w in ws})
        number = {w: i for i, w in enumerate(self.concepts)}
        self.concepts_of_sprite = np.zeros((len(cells), len(self.concepts)), dtype=bool)
        for row, ws in enumerate(row_words):
            self.concepts_of_sprite[row, [number[w] for w in ws]] = True
        self.is_name = np.array([w in set(base.names) for w in self.concepts])

    def texts(self) -> Iterator[str]:
        """Every word and template, for the choice of the vocabulary."""
        yield from self.concepts
        yield from PROMPT_TEMPLATES
        yield from CAPTION_TEMPLATES
        yield scenes.describe(["apple", "dog", "cat"])


def cut_vocabulary(texts: Iterator[str], path: Path) -> None:
    """Write the merges of CLIP's byte-pair encoding that these texts use, in their old order.

    A merge that some word needs was open to every other word before, so known words keep their pieces;
    unknown words fall into smaller ones.
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
        "#version: 0.2, the merges of CLIP's bpe_simple_vocab_16e6 (MIT, OpenAI) that the embedded CLIP's texts use"
    ]
    lines += [" ".join(pair) for pair in sorted(used, key=ranks.__getitem__)]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def model_config(vocab_size: int) -> dict[str, Any]:
    """What open_clip needs to build the model and its preprocessing."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {
                "timm_model_name": "resnet10t", "timm_model_pretrained": False, "timm_pool": "avg",
                "timm_proj": "linear", "image_size": scenes.SIZE,
            },
            "text_cfg": {
                "context_length": 32, "vocab_size": vocab_size, "width": 128, "heads": 4, "layers": 3,
                "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"},
            },
        },
        "preprocess_cfg": {
            "mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD),
            "interpolation": "bicubic", "resize_mode": "shortest",
        },
    }  # fmt: skip


class Batches(IterableDataset[dict[str, Tensor]]):
    """Batch number ``step`` holds scenes ``step·size …``, whichever worker draws it: a resumed run sees the same data."""

    def __init__(
        self, corpus: Corpus, tokenizer: open_clip.SimpleTokenizer, size: int, start: int, stop: int
    ) -> None:
        self.corpus, self.tokenizer, self.size, self.range = (
            corpus,
            tokenizer,
            size,
            range(start, stop),
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        bank = scenes.SpriteBank(self.corpus.cells)
        for step in self.range:
            yield self.batch(bank, step)

    def batch(self, bank: scenes.SpriteBank, step: int) -> dict[str, Tensor]:
        """Images, token ids and the match matrix of one step."""
        rng = np.random.default_rng([SEED, step])
        layout = scenes.lay_out(
            self.corpus.inventory, SEED, np.arange(step * self.size, (step + 1) * self.size)
        )
        images = scenes.paint_background(layout, theme_colours=False)
        bank.draw(layout, images)
        present = layout.class_ >= 0
        concepts = np.zeros((self.size, len(self.corpus.concepts)), dtype=bool)
        for slot in range(scenes.MAX_OBJECTS):
            rows = np.flatnonzero(present[:, slot])
            concepts[rows] |= self.corpus.concepts_of_sprite[layout.sprite[rows, slot]]
        labels = scenes.labels_of(layout, len(self.corpus.names)) > 0

        texts, match = [], []
        for i in rng.choice(self.size, CAPTIONS, replace=False):
            named = np.unique(layout.class_[i, present[i]])
            rng.shuffle(named)
            texts.append(
                CAPTION_TEMPLATES[rng.integers(len(CAPTION_TEMPLATES))].format(
                    scenes.describe([self.corpus.names[c] for c in named])
                )
            )
            match.append(labels[:, named].all(axis=1))
        # Prompts: class names first, as they are what users ask for; then other words present in the batch.
        in_batch = np.flatnonzero(concepts.any(axis=0))
        weight = np.where(self.corpus.is_name[in_batch], 6.0, 1.0)
        for c in rng.choice(
            in_batch, min(PROMPTS, len(in_batch)), replace=False, p=weight / weight.sum()
        ):
            texts.append(
                PROMPT_TEMPLATES[rng.integers(len(PROMPT_TEMPLATES))].format(
                    self.corpus.concepts[c]
                )
            )
            match.append(concepts[:, c])
        return {
            "images": torch.from_numpy(jitter(images, rng)),
            "ids": self.tokenizer(texts),
            "match": torch.from_numpy(np.stack(match)),
        }


def jitter(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random colour mixing, contrast and brightness an image; a tenth turns grey. Keeps shapes, loosens style."""
    n = len(images)
    mix = np.eye(3, dtype=np.float32) + rng.normal(0, 0.12, (n, 3, 3)).astype(np.float32)
    mix[rng.random(n) < 0.1] = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    contrast = rng.uniform(0.65, 1.35, (n, 1, 1)).astype(np.float32)
    brightness = rng.uniform(-30, 30, (n, 1, 1)).astype(np.float32)
    flat = images.reshape(n, -1, 3).astype(np.float32) - 128
    flat = (flat @ mix.swapaxes(1, 2)) * contrast + brightness + 128
    return np.clip(flat, 0, 255).astype(np.uint8).reshape(images.shape)


def contrastive_loss(logits: Tensor, match: Tensor) -> Tensor:
    """−½(mean over texts of mean over matching images of log softmax_images + the same with roles exchanged).

    Args:
        logits: scale · cosine, (texts, images).
        match: which pairs match, (texts, images), bool.
    """
    match = match.to(logits.dtype)
    of_text = -(match * F.log_softmax(logits, dim=1)).sum(1) / match.sum(1).clamp(min=1)
    of_image = -(match * F.log_softmax(logits, dim=0)).sum(0) / match.sum(0).clamp(min=1)
    return (of_text.mean() + of_image[match.any(0)].mean()) / 2


def encode_short_text(model: open_clip.CLIP, ids: Tensor) -> Tensor:
    """``model.encode_text(ids)`` without the columns after the last end-of-text token, which a causal tower never looks at."""
    length = int(ids.argmax(dim=1).max()) + 1
    ids = ids[:, :length]
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(x[torch.arange(len(ids)), ids.argmax(dim=1)] @ model.text_projection, dim=-1)


def normalised(images: Tensor) -> Tensor:
    """uint8 (images, height, width, 3) → float (images, 3, height, width), channels last in memory."""
    mean, std = (
        torch.tensor(v) * 255 for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


@torch.no_grad()
def zero_shot_map(
    model: open_clip.CLIP, tokenizer: open_clip.SimpleTokenizer, style: str, n: int = 1500
) -> float:
    """Mean average precision (percent) over the classes on test scenes of a style."""
    from sklearn.metrics import average_precision_score

    model.eval()
    inventory = scenes.class_inventory(style)
    texts = torch.stack(
        [
            F.normalize(
                F.normalize(
                    model.encode_text(tokenizer([t.format(c) for t in EVALUATION_TEMPLATES])),
                    dim=-1,
                ).mean(0),
                dim=-1,
            )
            for c in inventory.names
        ]
    )
    scores, labels = [], []
    bank = scenes.SpriteBank(scenes.load_cells(HERE / "sprites", style))
    for batch in scenes.batches(n, 250):
        images, y = scenes.draw_scenes(bank, inventory, SEED + 1, batch)
        scores.append(
            (
                F.normalize(model.encode_image(normalised(torch.from_numpy(images))), dim=-1)
                @ texts.T
            ).numpy()
        )
        labels.append(y)
    y, s = np.concatenate(labels), np.concatenate(scores)
    model.train()
    return 100 * float(
        np.mean([average_precision_score(y[:, c], s[:, c]) for c in np.flatnonzero(y.sum(0))])
    )


def learning_rate(step: int, steps: int, decay: int, peak: float, warm_up: int = 400) -> float:
    """Warm up, hold, then fall linearly to zero over the last ``decay`` steps (so a run can be prolonged before that)."""
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


def main() -> None:
    """Train, or continue where ``OUT/state.pt`` stands."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--extra", type=Path)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--decay", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=192)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--evaluate-every", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    folder = args.out / "model"
    folder.mkdir(parents=True, exist_ok=True)

    corpus = Corpus(args.extra)
    if not (folder / "bpe.txt.gz").exists():
        cut_vocabulary(corpus.texts(), folder / "bpe.txt.gz")
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(folder / "bpe.txt.gz"), context_length=32)
    config = model_config(tokenizer.vocab_size)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    cfg = config["model_cfg"]
    text_cfg = {k: v for k, v in cfg["text_cfg"].items() if k != "tokenizer_kwargs"}
    model = open_clip.CLIP(cfg["embed_dim"], cfg["vision_cfg"], text_cfg).train()
    model.visual.to(memory_format=torch.channels_last)
    no_decay = [p for p in model.parameters() if p.ndim < 2]
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": no_decay, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=True,
    )
    start = 0
    if (args.out / "state.pt").exists():
        state = torch.load(args.out / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    loader = DataLoader(
        Batches(corpus, tokenizer, args.batch_size, start, args.steps),
        batch_size=None,
        num_workers=1,
        prefetch_factor=4,
    )
    began, total = time.time(), 0.0
    for step, batch in enumerate(loader, start):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.decay, args.learning_rate)
        with torch.autocast("cpu", torch.bfloat16):
            image_features = model.encode_image(normalised(batch["images"]), normalize=True)
            text_features = torch.cat(
                [encode_short_text(model, ids) for ids in batch["ids"].split(CAPTIONS)]
            )
        logits = model.logit_scale.exp() * text_features.float() @ image_features.float().T
        loss = contrastive_loss(logits, batch["match"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, float(np.log(100)))
        total += loss.item()
        if (step + 1) % 50 == 0:
            print(
                step + 1,
                round(total / 50, 4),
                f"{(step + 1 - start) * args.batch_size / (time.time() - began):.0f} img/s",
                flush=True,
            )
            total = 0.0
        if (step + 1) % args.evaluate_every == 0 or step + 1 == args.steps:
            found = {
                style: round(zero_shot_map(model, tokenizer, style), 2)
                for style in ("noto", "fluent-flat", "twemoji")
            }
            row = {
                "step": step + 1,
                "minutes": round((time.time() - began) / 60, 1),
                "scale": round(model.logit_scale.exp().item(), 2),
                "mAP": found,
            }
            with (args.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                },
                args.out / "state.pt.new",
            )
            (args.out / "state.pt.new").rename(args.out / "state.pt")
            save(model, folder)
            print(row, flush=True)


if __name__ == "__main__":
    main()
