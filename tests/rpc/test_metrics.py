"""What a scrape says after known requests."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.rpc.live import ENDLESS, LiveServer, live_server
from tests.services import Models
from unitscope.engine.request import Accepted
from unitscope.errors import NotFound


def scrape(live: LiveServer) -> dict[tuple[str, ...], float]:
    """Samples by name and label values, in the order of the labels' names."""
    status, text = live.get("/metrics")
    assert status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_and_steps_are_counted(models: Models) -> None:
    with live_server(models) as live, live.client() as client:
        client.maximize(1, model="small", steps=4)
        client.maximize(2, model="small", steps=3)
        with pytest.raises(NotFound):
            client.maximize(1, model="secret")
        samples = scrape(live)
        assert samples["unitscope_requests_total", "OK", "Maximize"] == 2
        assert samples["unitscope_requests_total", "NOT_FOUND", "Maximize"] == 1
        assert samples["unitscope_request_seconds_count", "Maximize"] == 3
        assert samples["unitscope_steps_total",] == 7
        assert samples["unitscope_step_seconds_count",] == 7
        assert samples["unitscope_compile_seconds_count",] == samples["unitscope_programs",] == 1
        assert samples["unitscope_program_bytes",] > 1 << 16
        assert samples["unitscope_loaded_models",] >= 1
        assert not any("secret" in name for names in samples for name in names)


def test_what_is_under_way_is_shown(models: Models) -> None:
    with live_server(models) as live, live.client() as client:
        assert scrape(live)["unitscope_requests_in_flight", "StreamMaximize"] == 0
        stream = client.stream(1, model="small", steps=ENDLESS)
        assert isinstance(next(stream), Accepted)
        next(stream)
        samples = scrape(live)
        assert samples["unitscope_requests_in_flight", "StreamMaximize"] == 1
        assert samples["unitscope_active_requests",] == 1
        assert samples["unitscope_queue_depth",] == 0
        stream.close()


def test_a_cancelled_request_is_counted_as_cancelled(models: Models) -> None:
    with live_server(models) as live, live.client() as client:
        stream: Any = client.stream(1, model="small", steps=ENDLESS)
        next(stream)
        stream.close()
        live.drain().result(60)
        registry = live.metrics.registry
        labels = {"method": "StreamMaximize", "code": "CANCELLED"}
        assert registry.get_sample_value("unitscope_requests_total", labels) == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say(live: LiveServer) -> None:
    _, text = live.get("/metrics")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
