"""The import of many files on the machines of a dask cluster. What schedules them is dask's own."""

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
"""How often a partition that fails is run again. Each call in it has its own retries."""

_NAMED: Final = 10
"""How many of the files that are not done an error names, with what ended each."""


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
    """Import many files at a time, each as one `import_partition` on a worker of dask.

    When a worker dies, dask runs its file again elsewhere, and the platform skips the rows
    whose keys it still knows. You can also run all of it again, within 23 hours: how long
    the platform keeps the keys of rows is not documented.

    Needs `pip install 'kraty-admin[dask]'` here, and this package on all workers.

    Args:
        client_options: What the workers' clients are made with; see `import_partition`.
            Leave `api_key` out, and set `KRATY_SERVER_KEY` on the workers.
        paths: Files, or a pattern such as `exports/*.csv` that is looked up here; `**`
            stands for any folders. The workers have to find them under the same paths.
        kind: `players`, `wallet` or `inventory`.
        scheduler: The address of a scheduler, or a `distributed.Client`. Default: a
            cluster on this machine, for this import only.
        mapping: Which column each field is read from; see `import_players`, also for the next
            three arguments.
        preset: The columns of a platform's export.
        read_options: How to read the files, and which of their rows to import.
        sum_duplicates: Whether to add up rows with the same key, within each file.
        failures_dir: A folder for the failures files, one for each file that has failures.
        journal_dir: A folder for the journals, one for each file, on the workers' disks.
        in_flight: How many chunks of each file are sent at a time.
        chunk_size: How many rows are sent together.
        patience: How many seconds to wait for a server that is unavailable.

    Returns:
        `ImportReport`: The sum of the reports of the last run of each file. If a run was
        killed, the rows that it applied count as `applied` if its journal was found, and as
        `skipped` otherwise. `seconds` is the time of the whole, and `failures` is the folder.

    Raises:
        TypeError, ValueError: An argument does not fit, or no file matches.
        ImportError: The extra is not installed.
        ImportStoppedError: Some files are not done, and all others are. It names the former. Its
            `__cause__` is the error of the first of them, and its `report` is the sum.
    """
    started = time.monotonic()
    # What is wrong with these is found here, not on each worker in turn.
    check_options(ImportOptions(in_flight=in_flight, chunk_size=chunk_size, patience=patience))
    make_mapping(kind, mapping, preset, read_options or ReadOptions())
    files = _files(paths)
    with _connected(scheduler, len(files)) as client:
        # As many as there are now; those that join later get more refusals to wait for.
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
        # A name may hold what is special in patterns.
        found = [pattern] if Path(pattern).exists() else glob(pattern, recursive=True)  # noqa: PTH207  # a Path takes no absolute pattern
        files = sorted(path for path in map(Path, found) if not path.is_dir())
        if not files:
            raise ValueError(f"no file matches {pattern!r}")
    else:
        files = [Path(path) for path in paths]
        if not files:
            raise ValueError("no file to import: paths is empty")
    # Workers have working directories of their own.
    return list(dict.fromkeys(str(path.absolute()) for path in files))


def _beside(folder: str | os.PathLike[str] | None, path: str, suffix: str) -> str | None:
    """Return the path of a file's companion in `folder`, which is the same on each run."""
    if folder is None:
        return None
    # Files of several folders may have the same name.
    digest = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:8]
    return str(Path(folder).absolute() / f"{Path(path).name}.{digest}{suffix}")


# dask, which comes with few types


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
    """Options of which no repr shows a key: workers log the arguments of what fails."""

    def __repr__(self) -> str:
        return "{...}"


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError:
        raise ImportError("dask is an extra: pip install 'kraty-admin[dask]'") from None


@contextmanager
def _connected(scheduler: object, files: int) -> Generator[_Client, None, None]:
    """Connect to the scheduler. A client that is made here is closed again."""
    distributed = _distributed()
    if isinstance(scheduler, distributed.Client):
        client: Any = scheduler
        if client.asynchronous:
            raise TypeError("scheduler must be a client that waits, not an asynchronous one")
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
    """Return the reports of the files that are done, and the errors of the others by file."""
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
                # Held, it would be run again if the worker that holds the report died.
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
    named = [f"{path} ({_told(errors[path])})" for path in sorted(errors)]
    if len(named) > _NAMED:
        named[_NAMED:] = [f"and {len(named) - _NAMED} more"]
    message = f"{len(errors)} of {files} files are not done: {', '.join(named)}"
    return ImportStoppedError(message, report=report, cause=errors[min(errors)])


def _told(error: Exception) -> str:
    return (
        str(error) if isinstance(error, ImportStoppedError) else f"{type(error).__name__}: {error}"
    )
