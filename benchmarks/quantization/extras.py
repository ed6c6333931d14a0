"""Three more claims, on efficientnet-lite0: memory does not grow with samples, results are reused, machines agree."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.quantization.evaluation import Bench
from benchmarks.quantization.measuring import convert, drive, write_meta
from benchmarks.quantization.variants import VARIANTS

TASK = "efficientnet-lite0"
VARIANT = VARIANTS["int8pc-standard"]


def memory(bench: Bench) -> str:
    """Peak memory with the calibration samples ten times over, against that with the samples once; at most 1.1."""
    few = bench.data("calibration")
    many = bench.folder / "calibration-many"
    shutil.rmtree(many, ignore_errors=True)
    many.mkdir()
    for index in range(10 * len(few)):
        (many / f"{index:05d}.npy").symlink_to(few[index % len(few)].resolve())
    peaks = [
        drive(bench, write_meta(bench, VARIANT, folder, name)).peak_mb
        for folder, name in ((few[0].parent, "few"), (many, "many"))
    ]
    return _line(
        peaks[1] <= 1.1 * peaks[0],
        f"peak memory with {10 * len(few)} samples {peaks[1]:.0f} MB <= 1.1 x {peaks[0]:.0f} MB with {len(few)}",
    )


def cache(bench: Bench) -> str:
    """Time of a second conversion with the cache of the first, against the first; at most 1/5."""
    meta = write_meta(bench, VARIANT, bench.data("calibration")[0].parent, "cached")
    folder = bench.folder / "cache"
    shutil.rmtree(folder, ignore_errors=True)
    first, second = (drive(bench, meta, cache=folder).seconds for _ in range(2))
    return _line(second <= first / 5, f"second conversion {second:.3f} s <= 1/5 of the first, {first:.3f} s")


def dask(bench: Bench) -> str:
    """Whether two worker processes give the same bytes as this one alone."""
    from distributed import LocalCluster

    meta = write_meta(bench, VARIANT, bench.data("calibration")[0].parent, "dask")
    models: list[Path] = []
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:  # type: ignore[no-untyped-call]
        for name, options in (("alone", []), ("cluster", ["--scheduler", cluster.scheduler_address])):
            convert(bench, meta, bench.folder / name, *options)
            models.append(bench.folder / name / "model.onnx")
    alone, shared = (model.read_bytes() for model in models)
    return _line(alone == shared, f"two Dask workers give the same {len(alone)} bytes as one process")


def _line(kept: bool, text: str) -> str:
    return f"{'met    ' if kept else 'NOT met'}  {TASK} {VARIANT.name}: {text}"


EXTRAS: Mapping[str, Callable[[Bench], str]] = {"memory": memory, "cache": cache, "dask": dask}
