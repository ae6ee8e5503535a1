"""Polars: scan_lines and json_decode with a given type, then one explode a level, and a sink a table."""

import os
import sys

os.environ["POLARS_MAX_THREADS"] = sys.argv[-1]

import polars as pl
from projection import IDS, LEVELS, TOKENS, Source, Table, arguments, nested

TYPES = {
    "string": pl.String, "boolean": pl.Boolean, "int32": pl.Int32, "int64": pl.Int64,
    "float64": pl.Float64, "timestamp": pl.String, "duration_ms": pl.String,
}  # fmt: skip
INSTANT = pl.Datetime("us", "UTC")


def type_of(tree):
    if isinstance(tree, str):
        return TYPES[tree]
    if isinstance(tree, list):
        return pl.List(type_of(tree[0]))
    if "" in tree:
        return pl.Struct({token: pl.Boolean for token in TOKENS})
    return pl.Struct({name: type_of(of) for name, of in tree.items()})


def member(base: str | None, path: list[str]) -> pl.Expr:
    names = [base, *path] if base else path
    expression = pl.col(names[0].removesuffix("[]"))
    for number, name in enumerate(names[1:], 1):
        if names[number - 1].endswith("[]"):
            return expression.list.eval(pl.element().struct.field(name))
        expression = expression.struct.field(name.removesuffix("[]"))
    return expression


def instant(text: pl.Expr) -> pl.Expr:
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us").dt.replace_time_zone("UTC")


def value(base: str | None, column) -> pl.Expr:
    if not column.paths:
        return pl.lit(None)
    found = [member(base, path) for path in column.paths]
    cell = found[0] if len(found) == 1 else pl.coalesce(found)
    if column.type == "duration_ms":
        # A length that is not PT…S ends the program.
        return cell.str.slice(2).str.strip_suffix("S").cast(pl.Float64) * 1000
    return instant(cell) if column.type == "timestamp" else cell


def exploded(frame: pl.LazyFrame, items: pl.Expr, name: str, carried: list) -> pl.LazyFrame:
    positions = pl.int_ranges(0, items.list.len(), dtype=pl.Int32).alias(f"{name}_index")
    return frame.select(*carried, items.alias(name), positions).explode(name, f"{name}_index", keep_nulls=False)


def rows(table: Table, source: Source, frames: dict[str, pl.LazyFrame]) -> pl.LazyFrame:
    above = source.above
    keys = {"call_id": pl.col("call_id"), "call_start_date_time": pl.col("call_start_date_time")}
    for level, name in LEVELS.items():
        if [name] in source.lists:
            keys[f"{level}_index"] = pl.col(f"{level}_index")
            if level in IDS:
                keys[f"{level}_id"] = pl.col(level).struct.field("id") if level == above else pl.col(f"{level}_id")
    frame, last, element = frames[above or ""], source.lists[-1] if source.lists else [], above
    if source.is_map:
        tokens = member(above, last)
        entries = [pl.struct(pl.lit(name).alias("token"), tokens.struct.field(name).alias("value")) for name in TOKENS]
        carried = [expression.alias(name) for name, expression in keys.items()]
        frame = frame.filter(tokens.is_not_null()).select(*carried, pl.concat_list(entries).alias("element"))
        frame = frame.explode("element").filter(pl.col("element").struct.field("value").is_not_null())
        keys = {name: pl.col(name) for name in keys}
        keys |= {"token": pl.col("element").struct.field("token"), "value": pl.col("element").struct.field("value")}
    elif source.lists and last[0] not in LEVELS.values():
        if table.name == "participants" and last == ["participants"]:
            frame = frame.filter(pl.col("participants_v2").list.len().fill_null(0) == 0)
        carried = [expression.alias(name) for name, expression in keys.items()]
        frame = exploded(frame, member(above, last), "element", carried)
        keys = {name: pl.col(name) for name in keys}
        keys |= {"participant_index": pl.col("element_index"), "hop_index": pl.col("element_index")}
        element = "element"
    cells = keys | {name: pl.lit(constant) for name, constant in source.constants.items()}
    if not source.is_map:
        cells |= {column.name: value(element, column) for column in source.columns}
    columns = []
    for name, of_type, _ in table.columns:
        of = pl.List(pl.String) if of_type == "list<string>" else TYPES[of_type]
        of = INSTANT if of_type == "timestamp" else pl.Float64 if of_type == "duration_ms" else of
        columns.append(cells.get(name, pl.lit(None)).cast(of).alias(name))
    return frame.select(*columns, pl.col("call_start_date_time").dt.date().alias("call_date"))


def main() -> None:
    given = arguments()
    record = type_of(nested(given.tables))
    calls = pl.scan_lines(given.input).select(pl.col("line").str.json_decode(record).alias("record")).unnest("record")
    calls = calls.with_columns(call_id=pl.col("id"), call_start_date_time=instant(pl.col("startDateTime")))
    calls = calls.collect(engine="streaming").lazy()
    frames = {"": calls}
    carried, parent = ["call_id", "call_start_date_time"], None
    for level, name in LEVELS.items():
        items = member(parent, [name])
        more = [pl.col(parent).struct.field("id").alias(f"{parent}_id")] if parent in IDS else []
        frames[level] = exploded(frames[parent or ""], items, level, [*carried, *more])
        frames[level] = frames[level].collect(engine="streaming").lazy()
        carried += [f"{parent}_id"] if more else []
        carried += [f"{level}_index"]
        parent = level
    sinks = []
    for table in given.tables:
        parts = [rows(table, source, frames) for source in table.sources]
        target = pl.PartitionBy(given.output / table.name, key="call_date", include_key=False)
        frame = parts[0] if len(parts) == 1 else pl.concat(parts)
        sinks.append(
            frame.sink_parquet(target, compression="zstd", compression_level=given.level, mkdir=True, lazy=True)
        )
    pl.collect_all(sinks, engine="streaming")


main()
