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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from ccr_diag.data import scenes, sprites

HERE = Path(__file__).parent
STYLES = ("noto", "noto-v1", "fluent-flat", "fluent-3d")
SEED = 20260
CAPTIONS, PROMPTS = 48, 128  # texts a batch
EXTRA_SHARE = 0.25  # share of scenes whose theme is “other emoji”
PROMPT_TEMPLATES = (
    "{}", "{}.", "a {}.", "the {}.",
    "a photo of a {}.", "a picture of a {}.", "a drawing of a {}.", "an icon of a {}.",
    "a photo of the {}.", "a scene with a {}.",
    "there is a {} in the picture.", "a picture that shows a {}.",
    "one of the things that you can see in this small colourful picture is a {}.",
    "among other things on a soft and colourful background the picture shows a {}.",
)  # fmt: skip
CAPTION_TEMPLATES = (
    "{}.", "a picture of {}.", "a photo of {}.", "a scene with {}.", "{} on a soft background.",
    "in this small colourful picture you can see {}.",
)  # fmt: skip
EVALUATION_TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "a drawing of a {}.", "{}.")
EVALUATION_STYLES = ("noto", "fluent-flat", "twemoji")
REPORT_EVERY = 50  # steps


@dataclass(frozen=True)
class Drawing:
    """One emoji in one style.

    Args:
        class_: number of the class that it stands for.
        cell: its RGBA picture.
        words: its name and the annotators' keywords.
    """

    class_: int
    cell: UInt8[np.ndarray, "side side 4"]
    words: list[str]


def drawings(folder: Path, class_of_sprite: Sequence[int]) -> Iterator[Drawing]:
    """What the pretraining styles draw, style by style.

    Args:
        folder: where ``index.json`` and the atlases lie.
        class_of_sprite: class number of each sprite of the index.
    """
    index = read_index(folder)
    for style in STYLES:
        missing = set(index["styles"][style]["missing"])
        cells = sprites.load_cells(folder, style)
        for sprite, class_, cell in zip(index["sprites"], class_of_sprite, cells, strict=True):
            if sprite["emoji"] not in missing:
                yield Drawing(class_, cell, [sprite["name"], *sprite["tags"]])


def read_index(folder: Path) -> dict[str, Any]:
    """What the cells of a folder's atlases hold."""
    index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return index


def with_other_emoji(base: scenes.Inventory, others: Sequence[str]) -> scenes.Inventory:
    """Equally frequent themes and, last, a theme of other emoji; nobody draws any class yet.

    Args:
        base: the classes, their themes and shares.
        others: a class name for each other emoji; without any, their theme is left out.
    """
    n_themes, n = len(base.theme_share), len(others)
    theme_share = [1 / n_themes] * n_themes
    if others:
        theme_share = [(1 - EXTRA_SHARE) / n_themes] * n_themes + [EXTRA_SHARE]
    return scenes.Inventory(
        names=(*base.names, *others),
        theme_of_class=np.append(base.theme_of_class, np.full(n, n_themes)),
        class_share=np.append(base.class_share, np.full(n, 1 / max(n, 1))),
        theme_share=np.array(theme_share),
        sprites_of_class=((),) * (len(base.names) + n),
    )


def drawn_by(inventory: scenes.Inventory, class_of_row: Sequence[int]) -> scenes.Inventory:
    """The inventory whose classes are drawn by these rows of a sprite bank."""
    rows_of_class: list[list[int]] = [[] for _ in inventory.names]
    for row, class_ in enumerate(class_of_row):
        rows_of_class[class_].append(row)
    return replace(inventory, sprites_of_class=tuple(tuple(rows) for rows in rows_of_class))


def concept_table(
    words_of_row: Sequence[list[str]],
) -> tuple[list[str], Bool[np.ndarray, "rows concepts"]]:
    """All words in alphabetical order, and which of them each row of a sprite bank bears."""
    concepts = sorted({word for words in words_of_row for word in words})
    number = {word: i for i, word in enumerate(concepts)}
    table = np.zeros((len(words_of_row), len(concepts)), dtype=bool)
    for row, words in enumerate(words_of_row):
        table[row, [number[word] for word in words]] = True
    return concepts, table


class Corpus:
    """Sprites of all pretraining styles as one inventory, with the words that each sprite bears.

    Args:
        extra: folder of the atlases of other emoji, if they are to be drawn too.
    """

    def __init__(self, extra: Path | None) -> None:
        base = scenes.class_inventory(STYLES[0], theme_exponent=0.0, class_exponent=0.25)
        others = [sprite["name"] for sprite in read_index(extra)["sprites"]] if extra else []
        inventory = with_other_emoji(base, others)
        number = {name: i for i, name in enumerate(base.names)}
        shipped = HERE / "sprites"
        drawn = [
            *drawings(shipped, [number[s["name"]] for s in read_index(shipped)["sprites"]]),
            *(drawings(extra, range(len(base.names), len(inventory.names))) if extra else ()),
        ]
        self.inventory = drawn_by(inventory, [drawing.class_ for drawing in drawn])
        self.names = self.inventory.names
        self.cells = np.stack([drawing.cell for drawing in drawn])
        self.concepts, self.concepts_of_sprite = concept_table([d.words for d in drawn])
        self.is_name = np.array([concept in number for concept in self.concepts])

    def texts(self) -> Iterator[str]:
        """Every word and template, for the choice of the vocabulary."""
        yield from self.concepts
        yield from PROMPT_TEMPLATES
        yield from CAPTION_TEMPLATES
        yield scenes.describe(["apple", "dog", "cat"])


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


class Batches(IterableDataset[dict[str, Tensor]]):
    """Batches of images and texts.

    Batch number ``step`` holds scenes ``step·size …``, whichever worker draws it: a resumed run
    sees the same data.

    Args:
        corpus: what is drawn and named.
        tokenizer: of the cut vocabulary.
        size: images a batch.
        start: number of the first batch.
        stop: number after the last batch.
    """

    def __init__(
        self, corpus: Corpus, tokenizer: open_clip.SimpleTokenizer, size: int, start: int, stop: int
    ) -> None:
        self.corpus, self.tokenizer, self.size = corpus, tokenizer, size
        self.steps = range(start, stop)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        bank = sprites.SpriteBank(self.corpus.cells)
        for step in self.steps:
            yield self.batch(bank, step)

    def batch(self, bank: sprites.SpriteBank, step: int) -> dict[str, Tensor]:
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
        # Prompts: class names first, as they are what users ask for; then other words present in
        # the batch.
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


def jitter(
    images: UInt8[np.ndarray, "images height width 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "images height width 3"]:
    """Random colour mixing, contrast and brightness an image; a tenth turns grey.

    Keeps shapes, loosens style.
    """
    n = len(images)
    mix = np.eye(3, dtype=np.float32) + rng.normal(0, 0.12, (n, 3, 3)).astype(np.float32)
    mix[rng.random(n) < 0.1] = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    contrast = rng.uniform(0.65, 1.35, (n, 1, 1)).astype(np.float32)
    brightness = rng.uniform(-30, 30, (n, 1, 1)).astype(np.float32)
    flat = images.reshape(n, -1, 3).astype(np.float32) - 128
    flat = (flat @ mix.swapaxes(1, 2)) * contrast + brightness + 128
    return np.clip(flat, 0, 255).astype(np.uint8).reshape(images.shape)


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


def encode_short_text(
    model: open_clip.CLIP, ids: Int[Tensor, "texts tokens"]
) -> Float[Tensor, "texts dim"]:
    """``model.encode_text(ids)``, unit length, without the columns after the last end token.

    A causal tower never looks at them.
    """
    length = int(ids.argmax(dim=1).max()) + 1
    ids = ids[:, :length]
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(x[torch.arange(len(ids)), ids.argmax(dim=1)] @ model.text_projection, dim=-1)


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
    with torch.autocast("cpu", torch.bfloat16):
        image_features = model.encode_image(normalised(batch["images"]), normalize=True)
        text_features = torch.cat(
            [encode_short_text(model, ids) for ids in torch.split(batch["ids"], CAPTIONS)]
        )
    logits = model.logit_scale.exp() * text_features.float() @ image_features.float().T
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
