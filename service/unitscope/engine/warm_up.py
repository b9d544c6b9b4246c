"""Programs that are there before the first request."""

from __future__ import annotations

import logging
import time

from unitscope.engine.request import MaximizeRequest
from unitscope.engine.service import Service
from unitscope.errors import DeadGradient, InvalidRequest, UnitscopeError

_log = logging.getLogger(__name__)


def warm_up(service: Service, names: str) -> None:
    """Take a step of the default request for each of `names`: MODEL or MODEL/LAYER, with blanks.

    Raises InvalidRequest that says for which of them that cannot be done, and why.
    """
    for name in names.split():
        started = time.monotonic()
        model, _, layer = name.partition("/")
        request = MaximizeRequest(unit=0, model=model, layer=layer, steps=1)
        try:
            service.submit(request).result()
        except DeadGradient:
            _log.info("unit 0 of %s is dead; the program serves the others", name)
        except UnitscopeError as error:
            expected = f"a model or MODEL/LAYER that can be climbed: {error}"
            raise InvalidRequest("warm_up", name, expected) from error
        _log.info("warmed up %s in %.1f s", name, time.monotonic() - started)
