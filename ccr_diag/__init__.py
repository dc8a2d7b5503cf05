"""ccr-diag: can the probabilities of a fine-tuned multi-label CLIP be trusted, and what fixes them?

One flow, one direction; each arrow is one module::

    data/ ──► features.py ──► tune.py ──► predict.py ──► metrics/ ──► figures
    images,   frozen image    learned     scores and     numbers      pictures
    labels    embeddings      prompts     labels

Everything before ``predictions.py`` is torch, everything after it numpy. ``calibrating.py`` makes
predictions of predictions; ``sweep.py`` runs the whole flow for every setting of a grid, up to one
table. Nothing heavy is imported here, so that ``ccr-diag --help`` answers at once.
"""

__version__ = "0.1.0"
