"""What ships with the package to work offline: a compact CLIP and the sprites of its images.

``emoji_clip/`` is a folder that open_clip loads as ``local-dir:``, with a model card; ``sprites/``
holds the drawings with their licences. ``build_sprites.py`` and ``pretrain.py`` made them; users
need neither.
"""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "emoji_clip"
