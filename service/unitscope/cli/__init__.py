"""The command line: make pictures, look into models, serve."""

from unitscope.cli.app import main

__all__ = ["main"]
