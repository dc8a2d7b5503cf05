"""Time and memory of learning a context: rows that matter beside all tokens, as a Markdown table.

A random text tower of ViT-B/16's size, 16 context tokens before names as long as those of COCO (20
and 80 classes) and LVIS (1,203 classes), one thread. Both ways take turns; a ratio is the median of
its rounds. Seconds are the process's own, so that other processes disturb them little.

python tests/benchmark_text.py [--rounds 3] [--no-estimate]
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import open_clip
import torch
from timing import extra_memory
from torch import Tensor, nn

from ccr_diag.causal_text import causal_tower
from ccr_diag.config import FinetuneConfig
from ccr_diag.frameworks.framework import Framework
from ccr_diag.prompt_encoding import CHUNK_ROWS, PromptEncoder, TextTower
from ccr_diag.tune import start_tuning, tune

WIDTH, HEADS, LAYERS, TOKENS, CONTEXT = 512, 8, 12, 77, 16
START, PLACEHOLDER, STOP, END = 49406, 343, 269, 49407
COCO = [0.80, 0.19, 0.01]  # share of names with 1, 2, … tokens
LVIS = [0.57, 0.36, 0.05, 0, 0, 0.02]
CLASSES = {20: COCO, 80: COCO, 1203: LVIS}
WHOLE_CLASSES = 80  # of the whole tower, a larger number is done in parts, of which one is timed
IMAGES, EPOCHS, BATCH = 1000, 10, 32


def random_tower() -> nn.Module:
    """A CLIP whose text tower is as large as ViT-B/16's."""
    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"width": WIDTH, "heads": HEADS, "layers": LAYERS, "context_length": TOKENS}
    return open_clip.CLIP(512, vision, text).eval().requires_grad_(False)


def random_prompts(n_classes: int, shares: list[float]) -> tuple[Tensor, Tensor]:
    """Token ids of ``[start] context name . [end]``, and where the context goes."""
    generator = torch.Generator().manual_seed(0)
    counts = 1 + torch.tensor(shares).multinomial(n_classes, True, generator=generator)
    ids = torch.zeros(n_classes, TOKENS, dtype=torch.long)
    for row, n_words in zip(ids, counts.tolist(), strict=True):
        name = torch.randint(320, 49000, (n_words,), generator=generator).tolist()
        tokens = [START, *[PLACEHOLDER] * CONTEXT, *name, STOP, END]
        row[: len(tokens)] = torch.tensor(tokens)
    return ids, torch.arange(1, 1 + CONTEXT).expand(n_classes, -1)


class Learner(Framework):
    """Learns a context as CoOp does; scores are cosines."""

    def __init__(self, model: nn.Module, ids: Tensor, at: Tensor, whole: bool, **chunks: int):
        super().__init__()
        causal = None if whole else causal_tower(model)
        tower = TextTower(model, model.token_embedding, causal, exact)
        self.encode = PromptEncoder(tower, ids, at, **chunks)
        self.context = nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))

    def text_embeddings(self) -> Tensor:
        return self.encode(self.context)

    def step(self) -> float:
        """Forward and backward of the texts alone."""
        self.context.grad = None
        features = self.encode(self.context)
        (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
        return float(self.context.grad.norm())


def exact() -> torch.autocast:
    """Float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=False)


def cpu_seconds(job: Callable[[], float]) -> float:
    """What one thread worked on it."""
    start = time.process_time()
    job()
    return time.process_time() - start


def line(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def compare(model: nn.Module, n_classes: int, shares: list[float], rounds: int) -> None:
    """One line: seconds of both ways, their ratio, and peak memory of the short one."""
    ids, at = random_prompts(n_classes, shares)
    part = min(n_classes, WHOLE_CLASSES)
    whole = Learner(model, ids[:part], at[:part], whole=True, chunk_rows=part * TOKENS)
    for chunk_rows in (CHUNK_ROWS, CHUNK_ROWS // 4) if n_classes > part else (CHUNK_ROWS,):
        rows = Learner(model, ids, at, whole=False, chunk_rows=chunk_rows)
        extra = extra_memory(rows.step)
        shorts, longs, ratios = [], [], []
        for _ in range(rounds):
            before, long, after = map(cpu_seconds, (rows.step, whole.step, rows.step))
            shorts += [before, after]
            longs.append(long * n_classes / part)
            ratios.append(longs[-1] / statistics.mean([before, after]))
        line(
            f"{n_classes:,}",
            f"{(ids.argmax(dim=1) + 1 - 1 - CONTEXT).double().mean():.2f}",
            len(rows.encode.chunks),
            f"{min(longs):.2f}",
            f"{min(shorts):.3f}",
            f"{statistics.median(ratios):.1f}×",
            f"{min(longs) / min(shorts):.1f}×",
            f"{extra:.0f}",
        )


def estimate(model: nn.Module, steps: int) -> None:
    """A few real steps of tuning, scaled to a run on COCO."""
    learner = Learner(model, *random_prompts(80, COCO), whole=False)
    images = nn.functional.normalize(torch.randn(BATCH * steps, 512), dim=1)
    labels = (torch.rand(len(images), 80) < 0.04).to(torch.int8)
    config = FinetuneConfig(epochs=1, batch_size=BATCH)
    (_,) = tune(start_tuning(learner, 0.0, config), images, labels, 10.0, None, config)  # warm
    begin = time.perf_counter()
    (_,) = tune(start_tuning(learner, 0.0, config), images, labels, 10.0, None, config)
    seconds = (time.perf_counter() - begin) / steps
    total = EPOCHS * math.ceil(IMAGES / BATCH)
    print(
        f"\n80 classes, {IMAGES:,} images, {EPOCHS} epochs of batches of {BATCH}, "
        f"{torch.get_num_threads()} threads: {total} steps of {seconds:.2f} s, "
        f"about {total * seconds / 60:.1f} minutes."
    )


def main() -> None:
    """Print the table and the estimate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--estimate", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = random_tower()
    print(
        "Forward and backward, seconds at best; all tokens of 1,203 classes are scaled from 80.\n"
    )
    line("classes", "own tokens", "chunks", "all tokens", "rows", "ratio", "of best", "extra MB")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for n_classes, shares in CLASSES.items():
        compare(model, n_classes, shares, options.rounds)
    if options.estimate:
        for threads in (1, 2):  # two help only where two cores are idle
            torch.set_num_threads(threads)
            estimate(model, steps=4)


if __name__ == "__main__":
    main()
