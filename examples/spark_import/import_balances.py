"""Import balances with Spark: a task for each file, on as many workers as there are.

    python import_balances.py exports/balances-*.csv --state /var/lib/imports

The files have the columns player and gold, and one row for each player. Each file has a journal
and a file for the rows that failed, in the folder `--state`, so a task or a job that was killed
resumes where it stopped. On
a cluster, the folder has to be a disk that all workers share and that locks files reliably; if
there is none, leave the journal out, and let all retries end within 23 hours.

KRATY_SERVER_KEY has to be set where the workers run. Without `--master`, Spark runs on this
machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from kraty_admin.bulk import ImportReport, import_partition

MAPPING = {"externalPlayerId": "player", "amount": "gold", "economyKey": "=gold"}


def main() -> int:
    """Import the files; return 1 if rows failed or were duplicates."""
    parser = argparse.ArgumentParser(description="Import balances with Spark.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--state", required=True, type=Path)
    # Each task may fail three times and run again; `local[2]` alone would end at the first.
    parser.add_argument("--master", default="local[2,4]")
    options = parser.parse_args()
    state: Path = options.state.absolute()
    paths = [str(path.absolute()) for path in options.files]

    # The workers' Python has to have this package; without this Spark starts any `python3`.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.master(options.master).appName("balances").getOrCreate()
    # Each task uses its part of the rate limit; more tasks than cores do not run at a time.
    share = min(len(paths), spark.sparkContext.defaultParallelism)

    def import_file(path: str) -> ImportReport:
        name = Path(path).stem
        return import_partition(
            path,
            kind="wallet",
            client_options={},
            mapping=MAPPING,
            share=share,
            journal=state / f"{name}.journal",
            failures=state / f"{name}.failed.jsonl",
        )

    try:
        reports = spark.sparkContext.parallelize(paths, len(paths)).map(import_file).collect()
    finally:
        spark.stop()
    applied = sum(report.applied for report in reports)
    skipped = sum(report.skipped for report in reports)
    failed = sum(report.failed for report in reports)
    duplicates = sum(report.duplicates for report in reports)
    print(f"{applied} rows applied, {skipped} applied before, {failed} failed")
    print(f"{duplicates} not applied, because an earlier row of the file is for the same player")
    return 0 if all(report.complete for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
