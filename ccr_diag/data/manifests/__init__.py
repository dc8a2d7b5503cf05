"""The dialects of a manifest, one a file; each reads a file as a ``Listing``."""
