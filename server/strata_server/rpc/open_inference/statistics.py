"""What was counted of the versions that are served, as the protocol tells it."""

from collections.abc import Sequence

from strata_server.deadline import Deadline
from strata_server.errors import InvalidArgument, quote
from strata_server.repository import Repository
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.facilities import Facilities
from strata_server.tallies import Gauge
from strata_server.totals import VersionTotals, sum_versions
from strata_server.version import Version


def model_statistics(
    facilities: Facilities, request: pb.ModelStatisticsRequest, deadline: Deadline
) -> pb.ModelStatisticsResponse:
    """Tell what all workers have counted of a version, of all versions of a model, or of all models."""
    totals = {(each.model, each.number): each for each in sum_versions(facilities.engine.tallies)}
    asked = _find(facilities.engine.repository, request.name, request.version)
    return pb.ModelStatisticsResponse(
        model_stats=[
            _write_statistics(totals[version.model, version.number], version)
            for version in asked
            if (version.model, version.number) in totals
        ]
    )


def _find(repository: Repository, model: str, version: str) -> Sequence[Version]:
    if not model:
        if version:
            raise InvalidArgument(f"expected a model's name beside its version, received the version {quote(version)}")
        return repository.versions
    return [repository.find(model, version)] if version else repository.find_all(model)


def _write_statistics(totals: VersionTotals, version: Version) -> pb.ModelStatistics:
    requests = totals.requests.values()
    count = totals.successes
    held_bytes = totals.gauges[Gauge.PINNED_BYTES] + totals.gauges[Gauge.KEPT_BYTES]
    return pb.ModelStatistics(
        name=totals.model,
        version=totals.version,
        last_inference=totals.last_ms,
        inference_count=sum(each.rows for each in requests),
        execution_count=totals.run_rows.count,
        inference_stats=pb.InferStatistics(
            success=_write_duration(count, sum(each.took.sum for each in requests)),
            fail=_write_duration(sum(totals.failures.values()), totals.failed_ns),
            queue=_write_duration(count, sum(each.queued.sum for each in requests)),
            compute_input=_write_duration(count, sum(each.input_ns for each in requests)),
            compute_infer=_write_duration(count, sum(each.infer_ns for each in requests)),
            compute_output=_write_duration(count, sum(each.output_ns for each in requests)),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=rows,
                compute_input=_write_duration(runs.count, runs.input_ns),
                compute_infer=_write_duration(runs.count, runs.infer_ns),
                compute_output=_write_duration(runs.count, runs.output_ns),
            )
            for rows, runs in totals.runs.items()
        ],
        memory_usage=[pb.MemoryUsage(type="GPU" if version.has_device else "CPU", id=0, byte_size=held_bytes)],
    )


def _write_duration(count: int, nanoseconds: int) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=nanoseconds)
