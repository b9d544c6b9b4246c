"""Random mutations of real models: of a file's bytes, or of fields of the model in it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import onnx

from tests.graph.hostile.fields import FIELDS
from tests.graph.hostile.victims import choose, content_of


def mutated(seed: int) -> tuple[str, bytes]:
    """What was done to what, and the file that came of it."""
    random = Random(seed)
    victim = choose(random)
    content = content_of(victim)
    if random.random() < 0.3:
        change = random.choice(_BYTES)
        return f"{change.__name__} of {victim}", change(content, random)
    model = onnx.load_model_from_string(content)
    changes = random.choices(FIELDS, k=random.choice((1, 1, 1, 2, 3)))
    for change_field in changes:
        if model.graph.node:
            change_field(model, random)
    return f"{' '.join(f.__name__ for f in changes)} of {victim}", model.SerializeToString()


def flip_bits(content: bytes, random: Random) -> bytes:
    """A few bits, mostly near the end, where the graph is declared, or anywhere."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 3, 10, 100))):
        reach = random.choice((len(content), min(len(content), 600)))
        changed[len(content) - 1 - random.randrange(reach)] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def splice(content: bytes, random: Random) -> bytes:
    """A piece of the file in another place of it."""
    start, to = random.randrange(len(content)), random.randrange(len(content))
    piece = content[start : start + random.choice((1, 4, 16, 200))]
    return content[:to] + piece + content[to + random.choice((0, len(piece))) :]


_BYTES: list[Callable[[bytes, Random], bytes]] = [flip_bits, truncate, splice]
