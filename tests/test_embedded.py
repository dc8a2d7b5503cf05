"""What ships: the embedded CLIP keeps its promises, and the script that made it still runs."""

import hashlib
import json
import re
import sys

import numpy as np
import pytest
import torch

from ccr_diag.backbone import load_backbone
from ccr_diag.data import load_dataset
from ccr_diag.data.sprites import EMBEDDED
from ccr_diag.embedded import MODEL_DIR
from ccr_diag.features import image_features
from ccr_diag.metrics import measure
from ccr_diag.prompts import zero_shot_embeddings

WEIGHTS = MODEL_DIR / "open_clip_model.safetensors"
FLOORS = {
    "noto": 0.75,
    "fluent-flat": 0.75,
    "twemoji": 0.55,
}  # of the mAP over all 86 classes; chance is 0.03
IMAGES = 1000


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(device="cpu")


@pytest.mark.parametrize("style", FLOORS)
def test_zero_shot_map_stays_above_its_floor(backbone, style):
    data = load_dataset(f"scenes:{style}", "test").subset(np.arange(IMAGES))
    texts = zero_shot_embeddings(backbone, data.class_names)
    scores = (image_features(backbone, data) @ texts.T).numpy()
    p = np.clip((scores + 1) / 2, 0, 1)
    assert measure(p, data.labels, n_bootstrap=0).value("map") > FLOORS[style]


def test_neighbours_of_a_class_are_mostly_of_its_theme(backbone):
    themes = json.loads((EMBEDDED / "classes.json").read_text())["themes"]
    theme = np.array([t for t, classes in enumerate(themes.values()) for _ in classes])
    names = [c["name"] for classes in themes.values() for c in classes]
    texts = zero_shot_embeddings(backbone, names)
    nearest = (texts @ texts.T).fill_diagonal_(-2).topk(5).indices.numpy()
    assert (theme[nearest] == theme[:, None]).mean() >= 0.6


def test_weights_are_small_half_precision_and_the_ones_the_card_describes():
    from safetensors.torch import load_file

    assert WEIGHTS.stat().st_size <= 13e6
    dtypes = {v.dtype for v in load_file(WEIGHTS).values() if v.is_floating_point()}
    assert dtypes == {torch.float16}
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert re.findall(r"[0-9a-f]{64}", (MODEL_DIR / "MODEL_CARD.md").read_text()) == [digest]


def test_the_card_quotes_the_last_line_of_the_training_log():
    last = json.loads((MODEL_DIR / "training_log.jsonl").read_text().splitlines()[-1])
    card = (MODEL_DIR / "MODEL_CARD.md").read_text()
    assert f"{last['step']:,} steps" in card
    for style, value in last["mAP"].items():
        assert re.search(rf"\| {style} \| {value:.1f} \|", card)


def test_the_training_script_runs_continues_and_leaves_a_model_that_loads(tmp_path, monkeypatch):
    from ccr_diag.embedded import pretrain

    def train(steps):
        flags = f"--steps {steps} --decay 1 --batch-size 64 --threads 1 --evaluation-images 86"
        monkeypatch.setattr(sys, "argv", ["pretrain", str(tmp_path), *flags.split()])
        pretrain.main()
        return json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])

    assert train(2)["step"] == 2
    first = load_backbone(f"local-dir:{tmp_path / 'model'}", device="cpu")
    last = train(3)
    assert last["step"] == 3
    assert set(last["mAP"]) == {"noto", "fluent-flat", "twemoji"}
    second = load_backbone(f"local-dir:{tmp_path / 'model'}", device="cpu")
    assert first.fingerprint != second.fingerprint


def test_the_contrastive_loss_equals_its_formula():
    from ccr_diag.embedded.pretrain import contrastive_loss

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    match = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0]]).bool()
    z = logits.numpy()

    def log_softmax(values, j):
        return values[j] - np.log(np.exp(values).sum())

    texts = [
        -np.mean([log_softmax(z[t], i) for i in range(3) if match[t, i]]) if match[t].any() else 0.0
        for t in range(4)
    ]
    images = [
        -np.mean([log_softmax(z[:, i], t) for t in range(4) if match[t, i]]) for i in range(3)
    ]
    expected = (np.mean(texts) + np.mean(images)) / 2
    assert float(contrastive_loss(logits, match)) == pytest.approx(expected)


def test_the_cut_vocabulary_keeps_the_pieces_of_known_words(tmp_path):
    import open_clip

    from ccr_diag.embedded.pretrain import cut_vocabulary

    words = ["traffic light", "ambulance", "sheep and a wine glass"]
    cut_vocabulary(iter(words), tmp_path / "bpe.txt.gz")
    full = open_clip.SimpleTokenizer()
    small = open_clip.SimpleTokenizer(bpe_path=str(tmp_path / "bpe.txt.gz"))
    assert small.vocab_size < 600
    for word in words:
        pieces = [[t.decoder[i] for i in t.encode(word)] for t in (full, small)]
        assert pieces[0] == pieces[1]
    assert small.decode(small.encode("unheard-of giraffes")).strip() == "unheard - of giraffes"
