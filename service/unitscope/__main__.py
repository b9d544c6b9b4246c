"""``python -m unitscope`` is the command line."""

from unitscope.cli import main

main()
