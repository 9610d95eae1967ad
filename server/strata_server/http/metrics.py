"""/metrics: what all workers have counted, as Prometheus reads it, with Triton's names beside ours."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from strata_server.tallies import Gauge, ServerGauge, SliceKind, Tallies
from strata_server.totals import Histogram, RequestTotals, ServerTotals, VersionTotals, sum_server, sum_versions

_VERSION = ("model", "version")
_SLICE = ("model", "version", "slice")
_TRITON_REASONS = {
    "CANCELLED": "CANCELED",
    "DEADLINE_EXCEEDED": "REJECTED",
    "RESOURCE_EXHAUSTED": "REJECTED",
    "UNAVAILABLE": "REJECTED",
    "INTERNAL": "BACKEND",
}
"""Of failures by their gRPC status; of all others OTHER."""
_TRITON_DURATIONS: tuple[tuple[str, str, Callable[[RequestTotals], int]], ...] = (
    ("request", "From the arrival of requests to the bytes of their answers", lambda each: each.took.sum),
    ("queue", "How long requests waited for their turn", lambda each: each.queued.sum),
    ("compute_input", "What putting rows of requests together took", lambda each: each.input_ns),
    ("compute_infer", "What the runs of requests took", lambda each: each.infer_ns),
    ("compute_output", "What making answers took", lambda each: each.output_ns),
)
_MEMORY = Path("/proc/meminfo")


def metrics_route(tallies: Tallies) -> Route:
    """Return the route of /metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Totals(tallies))

    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    return Route("/metrics", metrics)


class _Totals(Collector):
    """Makes metrics of the tallies each time they are asked for."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        totals, server = sum_versions(self._tallies), sum_server(self._tallies)
        versions = [each for each in totals if each.number or not each.is_empty]
        yield from _collect_requests(versions)
        yield from _collect_runs(versions)
        yield from _collect_gauges(versions)
        yield from _collect_server(server)
        yield from _collect_triton(versions)
        yield from _collect_memory()


def _collect_requests(versions: Sequence[VersionTotals]) -> Iterator[Metric]:
    took = _histogram("strata_request_duration_seconds", "From the arrival of a request to the bytes of its answer")
    queued = _histogram("strata_queue_duration_seconds", "How long an answered request waited for its turn")
    computed = _histogram(
        "strata_compute_duration_seconds", "What runs took that answered a request, with what is before and behind them"
    )
    rows = CounterMetricFamily("strata_request_rows", "Rows of answered requests", labels=_SLICE)
    failures = CounterMetricFamily(
        "strata_request_failures", "Requests answered with an error", labels=(*_VERSION, "status")
    )
    for version in versions:
        for kind in SliceKind:
            requests, labels = version.requests[kind], [*_label(version), kind.name.lower()]
            _add_seconds(took, labels, requests.took)
            _add_seconds(queued, labels, requests.queued)
            _add_seconds(computed, labels, requests.computed)
            rows.add_metric(labels, requests.rows)
        for status, count in version.failures.items():
            if count:
                failures.add_metric([*_label(version), status], count)
    yield from (took, queued, computed, rows, failures)


def _collect_runs(versions: Sequence[VersionTotals]) -> Iterator[Metric]:
    rows = HistogramMetricFamily("strata_run_rows", "Rows that ran together", labels=_VERSION)
    for version in versions:
        rows.add_metric(_label(version), _buckets(version.run_rows, 1), version.run_rows.sum)
    yield rows


def _collect_gauges(versions: Sequence[VersionTotals]) -> Iterator[Metric]:
    told = [version for version in versions if version.number]
    for gauge, name, text in (
        (Gauge.SERVED, "strata_serving_workers", "Workers that serve a version"),
        (Gauge.REQUESTS, "strata_queue_requests", "Requests that wait or run"),
        (Gauge.ROWS, "strata_queue_rows", "Rows that wait or run"),
        (Gauge.BYTES, "strata_queue_bytes", "Bytes of rows that wait or run"),
    ):
        yield _version_gauge(name, text, ((_label(each), each.gauges[gauge]) for each in told))
    for name, text, pinned, kept in (
        ("strata_sessions", "Sessions that are held", Gauge.PINNED_SESSIONS, Gauge.KEPT_SESSIONS),
        ("strata_session_bytes", "Memory of sessions that are held, about", Gauge.PINNED_BYTES, Gauge.KEPT_BYTES),
    ):
        family = GaugeMetricFamily(name, text, labels=(*_VERSION, "pinned"))
        for version in told:
            family.add_metric([*_label(version), "true"], version.gauges[pinned])
            family.add_metric([*_label(version), "false"], version.gauges[kept])
        yield family
    last = [(_label(each), each.last_ms / 1e3) for each in told if each.last_ms]
    yield _version_gauge("strata_last_request_timestamp_seconds", "When a request was last answered", last)


def _collect_server(server: ServerTotals) -> Iterator[Metric]:
    rejections = CounterMetricFamily("strata_rejections", "Requests that were rejected", labels=("reason",))
    for reason, count in server.rejections.items():
        rejections.add_metric([reason], count)
    yield rejections
    calls = server.gauges[ServerGauge.OPEN_CALLS]
    yield GaugeMetricFamily("strata_open_calls", "Calls that are not answered to the end", value=calls)
    resident = server.gauges[ServerGauge.RESIDENT_BYTES]
    yield GaugeMetricFamily("strata_resident_memory_bytes", "Memory of all workers", value=resident)


def _collect_triton(versions: Sequence[VersionTotals]) -> Iterator[Metric]:
    told = [({"model": each.model, "version": each.version}, each, [*each.requests.values()]) for each in versions]
    successes = [(labels, version.successes) for labels, version, _ in told]
    yield _triton_counter("nv_inference_request_success", "Requests that were answered", successes)
    failures = [
        ({**labels, "reason": reason}, count)
        for labels, version, _ in told
        for reason, count in _sum_reasons(version.failures).items()
    ]
    yield _triton_counter("nv_inference_request_failure", "Requests answered with an error", failures)
    rows = [(labels, sum(each.rows for each in requests)) for labels, _, requests in told]
    yield _triton_counter("nv_inference_count", "Rows of answered requests", rows)
    runs = [(labels, version.run_rows.count) for labels, version, _ in told]
    yield _triton_counter("nv_inference_exec_count", "Runs", runs)
    for name, text, read_ns in _TRITON_DURATIONS:
        sums = [(labels, sum(map(read_ns, requests)) // 1000) for labels, _, requests in told]
        yield _triton_counter(f"nv_inference_{name}_duration_us", f"{text}, in microseconds", sums)
    pending = ((_label(each), each.gauges[Gauge.REQUESTS]) for each in versions if each.number)
    yield _version_gauge("nv_inference_pending_request_count", "Requests that wait or run", pending)


def _collect_memory() -> Iterator[Metric]:
    """Return the memory of the machine, where the system tells it."""
    try:
        lines = _MEMORY.read_text().splitlines()
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        total, available = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return
    yield GaugeMetricFamily("nv_cpu_memory_total_bytes", "Memory of the machine", value=total)
    yield GaugeMetricFamily("nv_cpu_memory_used_bytes", "Memory of the machine in use", value=total - available)


def _label(version: VersionTotals) -> list[str]:
    return [version.model, version.version]


def _histogram(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, labels=_SLICE)


def _add_seconds(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram) -> None:
    family.add_metric(labels, _buckets(histogram, 1e9), histogram.sum / 1e9)


def _buckets(histogram: Histogram, unit: float) -> list[tuple[str, float]]:
    """Return for each bound how many values are not above it."""
    bounds = [repr(bound / unit) for bound in histogram.bounds]
    return list(zip([*bounds, "+Inf"], accumulate(histogram.counts), strict=True))


def _version_gauge(name: str, text: str, values: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=_VERSION)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _triton_counter(name: str, text: str, values: Iterable[tuple[Mapping[str, str], int]]) -> Metric:
    """Return a counter whose name has no `_total`: to OpenMetrics, and to prometheus_client, it has no type then."""
    family = Metric(name, text, "unknown")
    for labels, value in values:
        family.add_sample(name, dict(labels), value)
    return family


def _sum_reasons(failures: Mapping[str, int]) -> Mapping[str, int]:
    """Return failures by the reasons that Triton has for them."""
    sums = dict.fromkeys((*_TRITON_REASONS.values(), "OTHER"), 0)
    for status, count in failures.items():
        sums[_TRITON_REASONS.get(status, "OTHER")] += count
    return sums
