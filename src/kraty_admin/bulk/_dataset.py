"""The import of many files on the machines of a dask cluster. dask schedules the files."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from glob import glob
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from kraty_server_api.imports import ImportOptions

from .._bulk._mapping import make_mapping
from .._bulk._options import ReadOptions
from .._bulk._plan import LARGEST
from .._bulk._report import ImportReport, ImportStoppedError
from .._bulk._rows import Kind
from .._bulk._run import check_options
from .._bulk._tally import Tally, tally_of
from ._partition import PATIENCE, import_partition

__all__ = ["import_dataset"]

_RETRIES: Final = 2
"""How often dask reruns a file that failed. The calls within it have their own retries."""

_NAMED: Final = 10
"""The most unfinished files that an error names, each with its error."""


def import_dataset(
    client_options: Mapping[str, Any],
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    kind: Kind,
    scheduler: object = None,
    mapping: Mapping[str, str] | None = None,
    preset: str | None = None,
    read_options: ReadOptions | None = None,
    sum_duplicates: bool = False,
    failures_dir: str | os.PathLike[str] | None = None,
    journal_dir: str | os.PathLike[str] | None = None,
    in_flight: int = 4,
    chunk_size: int = LARGEST,
    patience: float = PATIENCE,
) -> ImportReport:
    """Import many files at a time, each as one `import_partition` on a dask worker.

    If a worker dies, dask runs its file again elsewhere, and the platform skips the rows
    whose keys it still knows. You can also run the whole import again, within 23 hours of its
    start. Do not rely on the keys of rows for longer: how long the platform keeps them is not
    documented.

    This needs `pip install 'kraty-admin[dask]'` here, and this package on all workers.

    Args:
        client_options: The arguments of the workers' clients; see `import_partition`.
            Leave `api_key` out, and set `KRATY_SERVER_KEY` on the workers.
        paths: Files, or a pattern such as `exports/*.csv`, in which `**` stands for any
            folders. This process expands the pattern. The workers must have the files under
            the same paths.
        kind: `players`, `wallet` or `inventory`.
        scheduler: The address of a scheduler, or a `distributed.Client`. Default: a
            cluster on this machine, for this import only.
        mapping: The column of each field; see `import_players`, also for the next three
            arguments.
        preset: The columns of a platform's export.
        read_options: How to read the files, and which of their rows to import.
        sum_duplicates: Whether to add up rows that differ only in the amount or quantity, within
            each file. Rows of the same player in another file have the same key, so the platform
            does not apply both sums: all rows of a player must be in one file.
        failures_dir: A folder for the failures files, one for each file that has failures.
        journal_dir: A folder on the workers' disks for the journals, one for each file.
        in_flight: How many calls to send at a time for each file, from 1 to 100.
        chunk_size: Rows per call, from 1 to 1,000.
        patience: How many seconds to wait for a server that is unavailable, up to 12 hours.

    Returns:
        `ImportReport`: The sum of the reports of the last run of each file. If a run was
        killed, the rows that it applied count as `applied` if the next run found its journal,
        and as `skipped` otherwise. `seconds` is the duration of the whole import, and
        `failures` is the folder.

    Raises:
        TypeError, ValueError: An argument is invalid, or no file matches the pattern.
        ImportError: The extra is not installed.
        ImportStoppedError: Some files were not finished; the error names them. All other files
            were. `__cause__` is the error of the first unfinished file, and `report` is the
            sum of all reports.
    """
    started = time.monotonic()
    # Invalid arguments fail here, not on each worker.
    check_options(ImportOptions(in_flight=in_flight, chunk_size=chunk_size, patience=patience))
    make_mapping(kind, mapping, preset, read_options or ReadOptions())
    files = _files(paths)
    with _connected(scheduler, len(files)) as client:
        # The number of workers now. If more join later, the server rejects more calls with 429.
        share = max(1, min(len(files), sum(client.nthreads().values())))
        running = {
            client.submit(
                import_partition,
                file,
                kind=kind,
                client_options=_Unseen(client_options),
                mapping=mapping,
                preset=preset,
                read_options=read_options,
                sum_duplicates=sum_duplicates,
                failures=_beside(failures_dir, file, ".jsonl"),
                journal=_beside(journal_dir, file, ".journal"),
                in_flight=in_flight,
                chunk_size=chunk_size,
                patience=patience,
                share=share,
                retries=_RETRIES,
                pure=False,
            ): file
            for file in files
        }
        reports, errors = _gather(client, running)
    failures = None if failures_dir is None else os.fspath(failures_dir)
    report = _sum(reports, time.monotonic() - started, failures)
    if errors:
        raise _stopped(errors, len(files), report) from errors[min(errors)]
    return report


# Files


def _files(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return each file once, in an order that does not depend on the file system."""
    if isinstance(paths, str | os.PathLike):
        pattern = os.fspath(paths)
        # The name of an existing file may contain characters that are special in patterns.
        found = [pattern] if Path(pattern).exists() else glob(pattern, recursive=True)  # noqa: PTH207  # a Path takes no absolute pattern
        files = sorted(path for path in map(Path, found) if not path.is_dir())
        if not files:
            raise ValueError(f"no file matches {pattern!r}")
    else:
        files = [Path(path) for path in paths]
        if not files:
            raise ValueError("no file to import: paths is empty")
    # Workers have their own working directories.
    return list(dict.fromkeys(str(path.absolute()) for path in files))


def _beside(folder: str | os.PathLike[str] | None, path: str, suffix: str) -> str | None:
    """Return the path of a file's journal or failures file, which is the same on each run."""
    if folder is None:
        return None
    # Files in different folders may have the same name.
    digest = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:8]
    return str(Path(folder).absolute() / f"{Path(path).name}.{digest}{suffix}")


# dask, which has few type annotations


class _Future(Protocol):
    def result(self) -> ImportReport: ...

    def release(self) -> None: ...


class _Client(Protocol):
    def submit(
        self, func: Callable[..., ImportReport], /, *args: object, **kwargs: object
    ) -> _Future: ...

    def nthreads(self) -> Mapping[str, int]: ...

    def cancel(self, futures: list[_Future]) -> object: ...

    def as_current(self) -> AbstractContextManager[object]: ...


class _Unseen(dict[str, Any]):
    """Options whose repr hides their values: workers log the arguments of a failed task."""

    def __repr__(self) -> str:
        return "{...}"


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError:
        raise ImportError("dask is an extra: pip install 'kraty-admin[dask]'") from None


@contextmanager
def _connected(scheduler: object, files: int) -> Generator[_Client, None, None]:
    """Connect to the scheduler. A client that is created here is closed at the end."""
    distributed = _distributed()
    if isinstance(scheduler, distributed.Client):
        client: Any = scheduler
        if client.asynchronous:
            raise TypeError("scheduler must be a synchronous client, not an asynchronous one")
        yield client
    elif isinstance(scheduler, str):
        with distributed.Client(scheduler, set_as_default=False) as client:
            yield client
    elif scheduler is None:
        with (
            distributed.LocalCluster(
                n_workers=min(files, os.cpu_count() or 1),
                threads_per_worker=1,
                dashboard_address=None,
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client
    else:
        raise TypeError(
            f"scheduler must be an address or a distributed.Client, not {type(scheduler).__name__}"
        )


def _gather(
    client: _Client, running: dict[_Future, str]
) -> tuple[list[ImportReport], dict[str, Exception]]:
    """Return the reports of the finished files, and the errors of the others by file."""
    reports: list[ImportReport] = []
    errors: dict[str, Exception] = {}
    as_completed: Callable[[list[_Future]], Iterable[_Future]] = _distributed().as_completed
    try:
        with client.as_current():
            for future in as_completed(list(running)):
                try:
                    reports.append(future.result())
                except Exception as error:
                    errors[running[future]] = error
                    if isinstance(error, ImportStoppedError):
                        reports.append(error.report)
                # While a future is held, dask runs it again if the worker with its result dies.
                del running[future]
                future.release()
    except BaseException:
        client.cancel(list(running))
        raise
    return reports, errors


# Reports


def _sum(reports: Sequence[ImportReport], seconds: float, failures: str | None) -> ImportReport:
    settled = sum(each.rows_per_second * each.seconds for each in reports)
    tally = Tally()
    for each in reports:
        tally = tally.plus(tally_of(each))
    sizes = [each.bytes_total for each in reports]
    return ImportReport(
        read=tally.read,
        rows=tally.rows,
        applied=tally.applied,
        skipped=tally.skipped,
        left_out=sum(tally.left_out.values()),
        failed=tally.failed,
        left_out_reasons=tally.left_out,
        totals=tally.totals,
        chunks=sum(each.chunks for each in reports),
        resumed=sum(each.resumed for each in reports),
        retries=sum(each.retries for each in reports),
        seconds=round(seconds, 3),
        rows_per_second=round(settled / max(seconds, 1e-9), 1),
        bytes_read=sum(each.bytes_read for each in reports),
        bytes_total=None if None in sizes else sum(size or 0 for size in sizes),
        failures=failures,
        notes=tuple(dict.fromkeys(note for each in reports for note in each.notes)),
    )


def _stopped(
    errors: Mapping[str, Exception], files: int, report: ImportReport
) -> ImportStoppedError:
    named = [f"{path} ({_described(errors[path])})" for path in sorted(errors)]
    if len(named) > _NAMED:
        named[_NAMED:] = [f"and {len(named) - _NAMED} more"]
    message = f"{len(errors)} of {files} files were not finished: {', '.join(named)}"
    return ImportStoppedError(message, report=report, cause=errors[min(errors)])


def _described(error: Exception) -> str:
    return (
        str(error) if isinstance(error, ImportStoppedError) else f"{type(error).__name__}: {error}"
    )
