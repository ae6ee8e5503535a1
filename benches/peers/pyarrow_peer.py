"""pyarrow: its JSON reader with a given schema, lists flattened block by block, a dataset write a table."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.json as pj
from projection import IDS, LEVELS, TOKENS, Source, Table, arguments, nested

TYPES = {
    "string": pa.string(), "boolean": pa.bool_(), "int32": pa.int32(), "int64": pa.int64(),
    "float64": pa.float64(), "timestamp": pa.timestamp("ns", "UTC"), "duration_ms": pa.string(),
}  # fmt: skip
FILE_TYPES = TYPES | {"timestamp": pa.timestamp("us", "UTC"), "duration_ms": pa.float64()}
BLOCK = 32 << 20


def type_of(tree):
    if isinstance(tree, str):
        return TYPES[tree]
    if isinstance(tree, list):
        return pa.list_(type_of(tree[0]))
    if "" in tree:
        return pa.struct([(token, pa.bool_()) for token in TOKENS])
    return pa.struct([(name, type_of(of)) for name, of in tree.items()])


def member(array, path: list[str]):
    for number, name in enumerate(path):
        if number and path[number - 1].endswith("[]"):
            # The lists with one member of each element in the element's place.
            offsets = array.offsets
            inner = pc.struct_field(array.values, [name])
            return pa.ListArray.from_arrays(offsets, inner, mask=array.is_null() if array.null_count else None)
        array = pc.struct_field(array, [name.removesuffix("[]")])
    return array


def milliseconds(text):
    short = pc.starts_with(text, "PT")
    if pc.all(pc.and_(short, pc.ends_with(text, "S"))).as_py() is False:
        raise ValueError("a length that is not PT…S")
    return pc.multiply(pc.cast(pc.utf8_slice_codeunits(text, 2, -1), pa.float64()), 1000.0)


def value(element, column):
    if not column.paths:
        return pa.nulls(len(element), pa.list_(pa.string()) if column.type == "list<string>" else TYPES[column.type])
    found = [member(element, path) for path in column.paths]
    cell = found[0] if len(found) == 1 else pc.coalesce(*found)
    if column.type == "duration_ms":
        return milliseconds(cell)
    return pc.cast(cell, FILE_TYPES["timestamp"], safe=False) if column.type == "timestamp" else cell


class Level:
    """The elements of one level, with the keys that its rows carry."""

    def __init__(self, elements, keys: dict):
        self.elements, self.keys = elements, keys

    def exploded(self, lists, name: str) -> "Level":
        parents = pc.list_parent_indices(lists)
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        begins = np.cumsum(lengths) - lengths
        of = parents.to_numpy()
        positions = pa.array((np.arange(len(of)) - begins[of]).astype(np.int32))
        keys = {key: column.take(parents) for key, column in self.keys.items()}
        return Level(pc.list_flatten(lists), keys | {f"{name}_index": positions})

    def filtered(self, mask) -> "Level":
        return Level(self.elements.filter(mask), {key: column.filter(mask) for key, column in self.keys.items()})


def rows(table: Table, source: Source, levels: dict[str, Level]) -> pa.Table:
    above = source.above or ""
    level, last = levels[above], source.lists[-1] if source.lists else []
    if source.is_map:
        tokens = member(level.elements, last)
        # All entries of a record's map one after the other: rows in the order of the record.
        values = np.stack([pc.struct_field(tokens, [t]).to_numpy(zero_copy_only=False) for t in TOKENS], axis=1)
        at = np.repeat(np.arange(len(tokens)), len(TOKENS))
        of = pa.array(values.reshape(-1), pa.bool_())
        present = of.is_valid()
        at, of = pa.array(at).filter(present), of.filter(present)
        names = pa.array(TOKENS).take(pa.array(np.tile(np.arange(len(TOKENS)), len(tokens))).filter(present))
        cells = {key: column.take(at) for key, column in level.keys.items()} | {"token": names, "value": of}
        count = len(of)
    else:
        if source.lists and last[0] not in LEVELS.values():
            if table.name == "participants" and last == ["participants"]:
                new = pc.fill_null(pc.list_value_length(member(level.elements, ["participants_v2"])), 0)
                level = level.filtered(pc.equal(new, 0))
            level = level.exploded(member(level.elements, last), "element")
            level.keys |= {name: level.keys["element_index"] for name in ("participant_index", "hop_index")}
        cells = level.keys | {column.name: value(level.elements, column) for column in source.columns}
        count = len(level.elements)
    cells |= {name: pa.repeat(constant, count) for name, constant in source.constants.items()}
    columns, fields = [], []
    for name, of_type, _ in table.columns:
        of = pa.list_(pa.string()) if of_type == "list<string>" else FILE_TYPES[of_type]
        cell = cells.get(name)
        columns.append(pa.nulls(count, of) if cell is None else pc.cast(cell, of, safe=False))
        fields.append(pa.field(name, of))
    columns.append(pc.strftime(cells["call_start_date_time"], "%Y-%m-%d"))
    return pa.Table.from_arrays(columns, schema=pa.schema([*fields, pa.field("call_date", pa.string())]))


def main() -> None:
    given = arguments()
    pa.set_cpu_count(given.threads)
    schema = pa.schema([(name, type_of(of)) for name, of in nested(given.tables).items()])
    read = pj.read_json(
        given.input,
        read_options=pj.ReadOptions(block_size=BLOCK),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )

    def flatten(batch: pa.RecordBatch) -> list[pa.Table]:
        calls = batch.to_struct_array()
        start = pc.cast(batch["startDateTime"], FILE_TYPES["timestamp"], safe=False)
        levels = {"": Level(calls, {"call_id": batch["id"], "call_start_date_time": start})}
        parent = ""
        for level, name in LEVELS.items():
            levels[level] = levels[parent].exploded(member(levels[parent].elements, [name]), level)
            if level in IDS:
                levels[level].keys[f"{level}_id"] = pc.struct_field(levels[level].elements, ["id"])
            parent = level
        return [pa.concat_tables(rows(table, source, levels) for source in table.sources) for table in given.tables]

    with ThreadPoolExecutor(given.threads) as pool:
        flat = list(pool.map(flatten, read.to_batches()))
    del read
    parquet = ds.ParquetFileFormat()
    for number, table in enumerate(given.tables):
        whole = pa.concat_tables(part[number] for part in flat)
        ds.write_dataset(
            whole,
            given.output / table.name,
            format=parquet,
            file_options=parquet.make_write_options(compression="zstd", compression_level=given.level),
            min_rows_per_group=131072,
            max_rows_per_group=1 << 20,
            partitioning=ds.partitioning(pa.schema([("call_date", pa.string())]), flavor="hive"),
        )


main()
