"""What ships with the package to work offline: a compact CLIP and the sprites of its images.

``emoji_clip/`` is a folder that open_clip loads as ``local-dir:``, with a model card; ``sprites/``
holds the drawings with their licences; ``synonyms.txt`` lists other words for the classes, all of
them annotators' keywords of its drawings. ``build_sprites.py`` and ``pretrain.py`` made model and
sprites; users need neither.
"""

from pathlib import Path

SYNONYMS = Path(__file__).parent / "synonyms.txt"
MODEL_DIR = Path(__file__).parent / "emoji_clip"
