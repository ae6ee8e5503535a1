"""Opens a table with a reader and gives its rows in one form for all readers.

A table is opened in two ways: by its directory, and by the glob
<root>/<table>/<key>=*/*.parquet, which is expanded by the caller for readers
that take none. Every reader is used as its documentation shows it, without
options that smooth over differences between files.
"""

import datetime
import decimal
import glob
import json
import math
import os

READERS = ("pandas", "pyarrow", "polars", "duckdb")
WAYS = ("dir", "glob")


class NoTable(Exception):
    """There is nothing to read."""


class UnknownType(Exception):
    """A column has a type that the tables must not have."""


def tables(root):
    """The names of the tables below root that have files, sorted."""
    names = (entry.name for entry in os.scandir(root) if entry.is_dir())
    return sorted(name for name in names if glob.glob(f"{glob.escape(root)}/{name}/*=*/*.parquet"))


def partition_key(root, table):
    """The name before the = in the directories of the table."""
    folder = os.path.join(root, table)
    if not os.path.isdir(folder):
        raise NoTable(f"there is no table {table} in {root}")
    keys = {entry.name.partition("=")[0] for entry in os.scandir(folder) if "=" in entry.name}
    if len(keys) != 1:
        raise NoTable(f"{folder} must be partitioned by one key, found {sorted(keys)}")
    return keys.pop()


def read(root, reader, way, table):
    """The table as a JSON document: row count, columns, types, rows.

    `columns` are those of the files, in the order in which the reader gives
    them. The partition key stands apart and, as text, last in each row, because
    each reader puts it where it likes and gives it a type of its own.
    """
    if reader not in READERS or way not in WAYS:
        raise ValueError(f"reader must be one of {READERS} and way one of {WAYS}")
    key = partition_key(root, table)
    pattern = f"{glob.escape(os.path.join(root, table))}/{key}=*/*.parquet"
    files = sorted(glob.glob(pattern))
    if not files:
        raise NoTable(f"no file matches {pattern}")
    names, types, rows = _OPEN[reader](os.path.join(root, table), pattern, files, way)
    if key not in names:
        raise UnknownType(f"{reader} by {way} does not see the partition key {key} of {table}")
    at = names.index(key)
    order = [i for i in range(len(names)) if i != at]
    columns = [names[i] for i in order]
    body = [[_cell(row[i]) for i in order] + [str(row[at])[:10]] for row in rows]
    body.sort(key=_sort_key(columns))
    return {
        "table": table,
        "reader": reader,
        "way": way,
        "row_count": len(body),
        "columns": columns,
        "types": {names[i]: types[i] for i in order},
        "partition_key": key,
        "partition_type": types[at],
        "rows": body,
    }


def _sort_key(columns):
    keys = [i for i, name in enumerate(columns) if name == "call_id" or name.endswith("_index")]

    def of(row):
        position = [(row[i] is not None, row[i] if isinstance(row[i], int) else 0, str(row[i])) for i in keys]
        return (row[-1], position, json.dumps(row))

    return of


def _cell(value):
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, list):
        return [_cell(item) for item in value]
    # The column's type is reported as unknown; its values need not be equal.
    return f"?{value!r}"


def _of_arrow(table):
    rows = list(zip(*(column.to_pylist() for column in table.columns))) if table.num_rows else []
    return table.column_names, [_arrow_type(field.type) for field in table.schema], rows


def _arrow_type(kind):
    import pyarrow.types as is_

    if is_.is_dictionary(kind):
        return f"category of {_arrow_type(kind.value_type)}"
    if is_.is_string(kind) or is_.is_large_string(kind):
        return "string"
    if is_.is_boolean(kind):
        return "boolean"
    if is_.is_int32(kind):
        return "int32"
    if is_.is_int64(kind):
        return "int64"
    if is_.is_float64(kind):
        return "float64"
    if is_.is_timestamp(kind):
        return f"timestamp[{kind.unit}, {kind.tz}]"
    if is_.is_decimal(kind):
        return f"decimal128({kind.precision},{kind.scale})"
    if is_.is_list(kind) or is_.is_large_list(kind):
        return f"list<{_arrow_type(kind.value_type)}>"
    if is_.is_date(kind):
        return "date"
    return f"?{kind}"


def _pyarrow(folder, _pattern, files, way):
    import pyarrow.parquet as parquet

    return _of_arrow(parquet.read_table(folder if way == "dir" else files))


def _pandas(folder, _pattern, files, way):
    import pandas
    import pyarrow

    where = folder if way == "dir" else files
    plain = pandas.read_parquet(where)
    # The plain frame has float64 where an integer column has nulls. Types and
    # values are taken from the frame that keeps them.
    frame = pandas.read_parquet(where, dtype_backend="pyarrow")
    if list(plain.columns) != list(frame.columns) or len(plain) != len(frame):
        raise UnknownType("pandas gives other rows or columns with dtype_backend='pyarrow'")
    names, types, rows = _of_arrow(pyarrow.Table.from_pandas(frame, preserve_index=False))
    plain_types = [str(kind) for kind in plain.dtypes]
    types = ["category" if plain_types[i] == "category" else kind for i, kind in enumerate(types)]
    return names, types, rows


def _polars(folder, pattern, _files, way):
    import polars

    if way == "dir":
        frame = polars.read_parquet(folder)
    else:
        frame = polars.read_parquet(pattern, hive_partitioning=True)
    return frame.columns, [_polars_type(kind) for kind in frame.dtypes], frame.rows()


def _polars_type(kind):
    import polars

    simple = {
        polars.String: "string",
        polars.Boolean: "boolean",
        polars.Int32: "int32",
        polars.Int64: "int64",
        polars.Float64: "float64",
        polars.Date: "date",
    }
    if kind in simple:
        return simple[kind]
    if isinstance(kind, polars.Datetime):
        return f"timestamp[{kind.time_unit}, {kind.time_zone}]"
    if isinstance(kind, polars.Decimal):
        return f"decimal128({kind.precision},{kind.scale})"
    if isinstance(kind, polars.List):
        return f"list<{_polars_type(kind.inner)}>"
    return f"?{kind}"


def _duckdb(folder, pattern, _files, way):
    import duckdb

    where = f"{glob.escape(folder)}/**/*.parquet" if way == "dir" else pattern
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        relation = connection.sql("SELECT * FROM read_parquet('{}')".format(where.replace("'", "''")))
        types = [_duckdb_type(str(kind)) for kind in relation.types]
        return list(relation.columns), types, relation.fetchall()


def _duckdb_type(kind):
    if kind.endswith("[]"):
        return f"list<{_duckdb_type(kind[:-2])}>"
    if kind.startswith("DECIMAL"):
        return "decimal128" + kind.removeprefix("DECIMAL").replace(" ", "")
    return {
        "VARCHAR": "string",
        "BOOLEAN": "boolean",
        "INTEGER": "int32",
        "BIGINT": "int64",
        "DOUBLE": "float64",
        "TIMESTAMP WITH TIME ZONE": "timestamp[us, UTC]",
        "DATE": "date",
    }.get(kind, f"?{kind}")


_OPEN = {"pandas": _pandas, "pyarrow": _pyarrow, "polars": _polars, "duckdb": _duckdb}
