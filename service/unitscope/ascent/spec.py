"""What decides the graphs of a program.

A program is everything that requests have in common (model, layers, image size, kinds of
objective, parameterization, regularizers and optimizer); what differs between requests is a row of
its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from unitscope.ascent.fourier import half_shape
from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, ImageSpec
from unitscope.ascent.subject import Subject
from unitscope.graph.layers import Layer


@dataclass(frozen=True, slots=True)
class TermSpec:
    """A summand of what is climbed: an objective of a layer, by a row of weights."""

    layer: Layer
    objective: str = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSpec:
    """What decides the graphs of a program; equal specs share one.

    `logits`: the tensor that holds the model's scores of its classes. `terms`: the first is the one
    whose units are ranked. `views`: so many random looks at the image in every step; 0: the model
    sees the image itself, which then has its size. `turned`: a view need not be upright. `filters`:
    "blur" and "noise" of a view. `selective`: that the first term's unit stands out in its layer
    counts, too. `features`: the layer that the first term's is a linear map of, if it counts how
    little that responds to anything else. `targeted`: the activation is brought to a number, not to
    the highest. `unlike`: the layer in which the picture keeps away from the texture of others.
    `transparent`: it is added up how much each pixel mattered. `stretched`: pictures are shown with
    a standard deviation of 0.1 around mid-grey. `redirect`: dead ReLUs let through what wakes them.
    """

    subject: Subject
    logits: str
    terms: tuple[TermSpec, ...]
    image: ImageSpec
    parameterization: str = "fourier"
    optimizer: str = "adam"
    views: int = 1
    turned: bool = True
    filters: tuple[str, ...] = ()
    penalties: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    selective: bool = False
    features: Layer | None = None
    targeted: bool = False
    unlike: Layer | None = None
    transparent: bool = False
    stretched: bool = False
    redirect: bool = False
    rows: int = 1

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Inputs of the step that its outputs ``next_…`` replace, of one row: `parameters`
        `[1, *shape]` first, the optimizer's `moment_…` of the same shape, and `opacity`
        `[1, 1, H, W]` if there is one.
        """
        count = OPTIMIZERS[self.optimizer].state_count
        names = ("parameters", *(f"moment_{index + 1}" for index in range(count)))
        own = (1, *PARAMETERIZATIONS[self.parameterization].shape(self.image))
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, own)
        if self.transparent:
            shapes["opacity"] = (1, 1, *self.image.shape[1:])
        return shapes

    @property
    def prior_shapes(self) -> dict[str, tuple[int, ...]]:
        """The inputs of a prior, of one row: `colors` `[C, C]`, `magnitudes` `[C, *half_shape]`."""
        channels, *size = self.image.shape
        shapes: dict[str, tuple[int, ...]] = {"colors": (channels, channels)}
        if PARAMETERIZATIONS[self.parameterization].has_spectrum:
            shapes["magnitudes"] = (channels, *half_shape(*size))
        return shapes

    @property
    def shown(self) -> ProgramSpec:
        """What of it decides how one picture is shown."""
        return ProgramSpec(
            subject=self.subject,
            logits="",
            terms=(),
            image=self.image,
            parameterization=self.parameterization,
            stretched=self.stretched,
        )

    @property
    def judged(self) -> ProgramSpec:
        """What of it decides how one picture is judged."""
        return ProgramSpec(
            subject=self.subject, logits=self.logits, terms=self.terms, image=self.image
        )

    @property
    def seen_px(self) -> tuple[int, int]:
        """Height and width of what the model sees."""
        return self.subject.card.height_px, self.subject.card.width_px
