"""Spark: the file read once with a given schema and kept, posexplode level by level, a partitioned write a table."""

from projection import IDS, LEVELS, Source, Table, arguments, nested
from pyspark.sql import SparkSession
from pyspark.sql import functions as f
from pyspark.sql import types as t
from pyspark.storagelevel import StorageLevel

TYPES = {
    "string": t.StringType(), "boolean": t.BooleanType(), "int32": t.IntegerType(), "int64": t.LongType(),
    "float64": t.DoubleType(), "timestamp": t.TimestampType(), "duration_ms": t.StringType(),
}  # fmt: skip
# The driver is the executor: half of a small machine.
MEMORY = "8g"


def type_of(tree):
    if isinstance(tree, str):
        return TYPES[tree]
    if isinstance(tree, list):
        return t.ArrayType(type_of(tree[0]))
    if "" in tree:
        return t.MapType(t.StringType(), type_of(tree[""]))
    return t.StructType([t.StructField(name, type_of(of)) for name, of in tree.items()])


def member(base: str | None, path: list[str]):
    # A field of a list of structs is the list of the fields.
    names = [name.removesuffix("[]") for name in ([base, *path] if base else path)]
    return f.col(".".join(f"`{name}`" for name in names))


def milliseconds(text):
    """Nearly all are PT…S; the pattern is for the others."""
    pattern = r"^P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?$"
    short = f.expr(f"try_cast(substring({text}, 3, length({text}) - 3) AS DOUBLE)")
    part = lambda group: f.expr(f"coalesce(try_cast(regexp_extract({text}, r'{pattern}', {group}) AS DOUBLE), 0)")
    whole = part(1) * 86400 + part(2) * 3600 + part(3) * 60 + part(4)
    return f.when(f.expr(text).isNull(), None).otherwise(f.coalesce(short, whole)) * 1000


def value(base: str | None, column):
    if not column.paths:
        return f.lit(None)
    if column.type == "duration_ms":
        return milliseconds(".".join(f"`{name}`" for name in [base, *column.paths[0]]))
    found = [member(base, path) for path in column.paths]
    return found[0] if len(found) == 1 else f.coalesce(*found)


def rows(table: Table, source: Source, frames: dict):
    above = source.above
    keys = {"call_id": f.col("call_id"), "call_start_date_time": f.col("call_start_date_time")}
    for level, name in LEVELS.items():
        if [name] in source.lists:
            keys[f"{level}_index"] = f.col(f"{level}_index")
            if level in IDS:
                keys[f"{level}_id"] = f.col(f"{level}.id")
    frame, last, element = frames[above], source.lists[-1] if source.lists else [], above
    if source.is_map:
        frame = frame.select("*", f.explode(member(above, last)).alias("token", "value")).where("value IS NOT NULL")
        keys |= {"token": f.col("token"), "value": f.col("value")}
    elif source.lists and last[0] not in LEVELS.values():
        if table.name == "participants" and last == ["participants"]:
            frame = frame.where("coalesce(cardinality(participants_v2), 0) = 0")
        frame = frame.select("*", f.posexplode(member(above, last)).alias("position", "element"))
        keys |= {"participant_index": f.col("position"), "hop_index": f.col("position")}
        element = "element"
    cells = keys | {name: f.lit(constant) for name, constant in source.constants.items()}
    if not source.is_map:
        cells |= {column.name: value(element, column) for column in source.columns}
    columns = []
    for name, of_type, _ in table.columns:
        of = t.ArrayType(t.StringType()) if of_type == "list<string>" else TYPES[of_type]
        of = t.DoubleType() if of_type == "duration_ms" else of
        columns.append(cells.get(name, f.lit(None)).cast(of).alias(name))
    return frame.select(*columns, f.date_format("call_start_date_time", "yyyy-MM-dd").alias("call_date"))


def main() -> None:
    given = arguments()
    spark = (
        SparkSession.builder.master(f"local[{given.threads}]")
        .config("spark.driver.memory", MEMORY)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.hadoop.parquet.compression.codec.zstd.level", given.level)
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
        .config("spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    records = spark.read.schema(type_of(nested(given.tables))).json(given.input, mode="FAILFAST")
    calls = records.withColumns({"call_id": f.col("id"), "call_start_date_time": f.col("startDateTime")})
    frames = {None: calls.persist(StorageLevel.MEMORY_AND_DISK)}
    parent = None
    for level, name in LEVELS.items():
        carried = [column for column in frames[parent].columns if parent or column.startswith("call_")]
        frames[level] = frames[parent].select(
            *carried, f.posexplode(member(parent, [name])).alias(f"{level}_index", level)
        )
        parent = level
    for table in given.tables:
        whole = rows(table, table.sources[0], frames)
        for source in table.sources[1:]:
            whole = whole.unionAll(rows(table, source, frames))
        whole.write.partitionBy("call_date").parquet(str(given.output / table.name))
    spark.stop()


main()
