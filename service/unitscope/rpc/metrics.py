"""What Prometheus sees. Labels come from the contract and the status codes, never from a caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from unitscope.engine.service import Service

_REQUEST_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_STEP_ROWS = (1, 2, 4, 8)
_COMPILE_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ServerMetrics:
    """Counts requests for the interceptor, steps for the engine (its `Observer`) and answers that
    took none (a `CacheObserver`).
    """

    def __init__(self, methods: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "unitscope_requests_total",
            "Finished requests, by method and status code.",
            ("method", "code"),
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "unitscope_requests_in_flight",
            "Requests that are being answered, by method.",
            ("method",),
            registry=self.registry,
        )
        self._request_seconds = self._histogram(
            "unitscope_request_seconds", "Time to answer a request.", _REQUEST_SECONDS, "method"
        )
        self._steps = Counter(
            "unitscope_steps_total", "Steps of gradient ascent.", registry=self.registry
        )
        self._step_seconds = self._histogram(
            "unitscope_step_seconds", "Time of one step, of one request or several.", _STEP_SECONDS
        )
        self._step_rows = self._histogram(
            "unitscope_step_rows", "Requests that took a step together.", _STEP_ROWS
        )
        self._compile_seconds = self._histogram(
            "unitscope_compile_seconds", "Time to build and compile a program.", _COMPILE_SECONDS
        )
        self._cache_hits = self._counter(
            "unitscope_cache_hits_total", "Requests answered from the results on disk."
        )
        self._cache_misses = self._counter(
            "unitscope_cache_misses_total", "Requests whose result was not on disk."
        )
        self._cache_failures = self._counter(
            "unitscope_cache_failures_total", "Reads and writes of results that the disk refused."
        )
        self._cache_bytes = Gauge(
            "unitscope_cache_bytes", "Results on disk, in bytes.", registry=self.registry
        )
        self._joined = self._counter(
            "unitscope_joined_requests_total",
            "Requests that shared the run or the result of another that is still remembered.",
        )
        for method in methods:
            self._requests.labels(method, grpc.StatusCode.OK.name)
            self._in_flight.labels(method)
            self._request_seconds.labels(method)

    def watch(self, service: Service) -> None:
        """Let every scrape look at `service`."""
        self.registry.register(_ServiceCollector(service))

    def begin(self, method: str) -> None:
        """A request came in."""
        self._in_flight.labels(method).inc()

    def end(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """A request was answered."""
        self._in_flight.labels(method).dec()
        self._requests.labels(method, code.name).inc()
        self._request_seconds.labels(method).observe(seconds)

    def step(self, seconds: float, rows: int) -> None:
        """So many requests took a step together."""
        self._steps.inc(rows)
        self._step_seconds.observe(seconds)
        self._step_rows.observe(rows)

    def compiled(self, seconds: float) -> None:
        """A program was built."""
        self._compile_seconds.observe(seconds)

    def cache_hit(self) -> None:
        """A request was answered from the results on disk."""
        self._cache_hits.inc()

    def cache_miss(self) -> None:
        """The result of a request was not on disk."""
        self._cache_misses.inc()

    def cache_failed(self) -> None:
        """Results on disk could not be read or written."""
        self._cache_failures.inc()

    def cache_bytes(self, count: int) -> None:
        """So much is on disk."""
        self._cache_bytes.set(count)

    def joined(self) -> None:
        """A request shared the run or the result of another."""
        self._joined.inc()

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)


class _ServiceCollector(Collector):
    """Gauges that are read from the service when Prometheus asks."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """The gauges of this moment."""
        stats = self._service.stats()
        loaded = self._service.models.loaded_count()
        yield _gauge("unitscope_queue_depth", "Requests that wait or compile.", stats.queue_depth)
        yield _gauge("unitscope_active_requests", "Requests that take turns.", stats.active)
        yield _gauge("unitscope_programs", "Compiled programs in memory.", stats.programs)
        yield _gauge(
            "unitscope_program_bytes",
            "What compiled programs take, weights that they share counted once.",
            stats.program_bytes,
        )
        yield _gauge(
            "unitscope_nodes_elsewhere",
            "Nodes of compiled programs that a graphics processor leaves to the processor.",
            stats.nodes_elsewhere,
        )
        yield _gauge("unitscope_loaded_models", "Models in memory.", loaded)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
