"""The command line: parses, calls the library, prints. Installed as ``ccr_diag.cli``."""
