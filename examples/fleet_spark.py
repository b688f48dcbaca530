"""Reads a folder of captures with Spark, and writes their slices as Parquet, by service, host and hour.

    spark-submit examples/fleet_spark.py captures/ slices.parquet

The captures are captures/SERVICE/RELEASE/NAME.pnr, where each worker can read them: on a shared file system, or mounted
from an object store. Each worker needs panopticon_rec and pyarrow. Spark divides the work, and does again what a worker
that is killed has not finished.
"""

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession, functions

SCHEMA = ("service string, release string, host string, hour string, capture string, function string, begin_ns bigint, "
          "dur_ns bigint, self_ns bigint, problem string")

CAPTURES_OF_TASK = 4        # what is done again when a worker is killed


def main(captures, output):
    spark = SparkSession.builder.appName("captures").getOrCreate()
    write_slices(spark, captures, output)
    found = spark.read.parquet(output)
    found.where("problem is not null").select("capture", "problem").show(truncate=False)
    slowest(found).show(truncate=False)
    spark.stop()


def write_slices(spark, folder, output):
    """Write the slices of all captures below a folder as Parquet, by service, host and hour. A task writes several files at
    a time: without that, Spark sorts all of its slices first."""
    spark.conf.set("spark.sql.maxConcurrentOutputFileWriters", "100")
    read_captures(spark, folder).write.partitionBy("service", "host", "hour").parquet(output)


def read_captures(spark, folder):
    """Return a DataFrame with the slices of all captures below a folder. A capture that cannot be read, or not as a whole,
    has rows with a `problem` and no function."""
    paths = sorted(str(path) for path in Path(folder).glob("*/*/*.pnr"))
    n = max(len(paths) // CAPTURES_OF_TASK, min(len(paths), 4 * spark.sparkContext.defaultParallelism), 1)
    tasks = spark.sparkContext.parallelize([(path,) for path in paths], n)
    return spark.createDataFrame(tasks, "path string").mapInArrow(read_batches, SCHEMA)


def read_batches(batches):
    """Yield the slices of the captures whose paths are in the batches, as batches of SCHEMA. Runs in a worker."""
    for batch in batches:
        for path in batch["path"].to_pylist():
            yield from read_capture(path)


def read_capture(path):
    import warnings

    import panopticon_rec
    import pyarrow
    messages = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # `messages` has them, too
            capture = panopticon_rec.open(path)
        columns = ["host", "function", "begin_ns", "dur_ns", "self_ns"]
        reader = pyarrow.RecordBatchReader.from_stream(capture.slices(columns=columns))
        start_ns = int(reader.schema.metadata.get(b"panopticon.start_realtime_ns", 0))
        for batch in reader:
            yield shape(path, batch, start_ns)
        messages = [] if capture.is_whole else capture.messages
    except (OSError, ValueError) as error:
        messages = [str(error)]
    if messages:
        yield shape_problems(path, messages)


def shape(path, batch, start_ns):
    """Return a batch of a table as one of SCHEMA. start_ns: the wall clock at the start of the trace, since 1970."""
    import pyarrow
    from pyarrow import compute
    began = compute.add(batch["begin_ns"], start_ns)
    hours = compute.strftime(began.cast(pyarrow.timestamp("ns", "UTC")), "%Y-%m-%dT%H")
    host = batch["host"].cast(pyarrow.string())
    return make_batch(path, batch.num_rows, host=host, hour=hours, function=batch["function"].cast(pyarrow.string()),
                      begin_ns=began, dur_ns=batch["dur_ns"], self_ns=batch["self_ns"])


def shape_problems(path, messages):
    import pyarrow
    return make_batch(path, len(messages), problem=pyarrow.array(messages, pyarrow.string()))


def make_batch(path, n, **columns):
    """Return a batch of n rows: what the path says, these columns, and nulls."""
    import pyarrow
    service, release = path.split(os.sep)[-3:-1]
    columns |= {"service": pyarrow.repeat(service, n), "release": pyarrow.repeat(release, n),
                "capture": pyarrow.repeat(path, n)}
    types = {"string": pyarrow.string(), "bigint": pyarrow.int64()}
    names = [field.split() for field in SCHEMA.split(", ")]
    return pyarrow.RecordBatch.from_arrays(
        [columns[name] if name in columns else pyarrow.nulls(n, types[kind]) for name, kind in names],
        [name for name, _ in names])


# ---- questions ----

def slowest(slices):
    """Return the functions of each release that took most time of their own."""
    return slices.where("function is not null").groupBy("service", "release", "function").agg(
        functions.count("*").alias("calls"), functions.sum("self_ns").alias("self_ns")).orderBy(functions.desc("self_ns"))


def p99_by_host(slices, function):
    """Return the 99th percentile of a function's duration, by host."""
    return slices.where(functions.col("function") == function).groupBy("service", "host").agg(
        functions.percentile_approx("dur_ns", 0.99, 10_000).alias("p99_ns")).orderBy("service", "host")


def slower_since(slices, before, after):
    """Return the functions whose mean duration has risen from one release to another, with the ratio."""
    means = slices.where("function is not null").groupBy("service", "function").pivot("release", [before, after]).agg(
        functions.avg("dur_ns"))
    return means.withColumn("ratio", functions.col(f"`{after}`") / functions.col(f"`{before}`")) \
        .where("ratio > 1").orderBy(functions.desc("ratio"))


if __name__ == "__main__":
    main(*sys.argv[1:])
