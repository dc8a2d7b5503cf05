"""Pictures of numbers that are measured elsewhere: records in, files for people out.

::

    results, sweep, curves, … ──► a module a figure ──► gallery ──► pdf, svg, png, and CSV of each
    results                   ──► html_report ────────────────────► one page of HTML

A module of a figure has ``draw_x(source, …, ax=None)``, which draws on one axes and returns it,
``x_table(source)``, the tidy numbers of its marks (those of pairs of classes come with each page
alone), and ``x_pictures(source)``, whole pages, none where the source holds no numbers for them.
``style`` is what all share. Only this package imports matplotlib, seaborn and jinja2.
"""
