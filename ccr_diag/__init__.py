"""ccr-diag: can the probabilities of a fine-tuned multi-label CLIP be trusted, and what fixes them?

One flow, one direction; each arrow is one module::

    data/ ──► features.py ──► tune.py ──► predict.py ──► metrics/ ──► figures
    images,   frozen image    learned     scores and     numbers      pictures
    labels    embeddings      prompts     labels

``backbone.py`` is the model that gives features, from weights that ``pretrained.py`` finds;
``run_data.py`` is a data set as a run sees it. Everything before ``predictions.py`` is torch,
everything after it numpy, but for ``data/``, which has no torch either. ``calibrating.py`` makes
predictions of predictions; ``sweep.py`` runs the whole flow for every setting of a grid, up to one
table. ``results.py`` is the file between numbers and pictures: ``findings.py``, ``verdict.py`` and
``differences.py`` put its numbers into words, ``report.py`` and ``paper/`` into tables;
``figure_inputs.py`` finds and ``merging.py`` joins what is drawn. ``plan.py`` says what a command
would do, ``machine.py`` what it could do here. Nothing heavy is imported here, so that ``ccr-diag
--help`` answers at once.
"""

__version__ = "0.1.0"
