"""Pictures of a results file: numbers flow in, matplotlib axes and image files flow out.

Nothing is measured here. Each ``draw_*(results, ax=None)`` draws on one axes and returns it;
``gallery`` puts them together into whole figures and writes them. Only this package imports
matplotlib and seaborn.
"""
