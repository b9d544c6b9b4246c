"""Others who compute the gradient of a picture, to be timed beside unitscope.

Each runs in a process of its own (`child.py`), in the environment that has its packages, and takes
turns with unitscope in one run (`process.py`). A peer is a module here with `DISTRIBUTION`, whose
version is noted, and `prepare`, which makes its tasks; and one entry in `known.py`.
"""
