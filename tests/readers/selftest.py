"""Tests of the comparison itself, on small tables in the layout of the dataset."""

import datetime
import os
import tempfile

import pyarrow as pa
import pyarrow.parquet as parquet

import compare
import reading

INSTANT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("call_id", pa.string()),
        ("session_index", pa.int32()),
        ("version", pa.int64()),
        ("is_test", pa.bool_()),
        ("average_jitter_ms", pa.float64()),
        ("start_date_time", INSTANT),
        ("modalities", pa.list_(pa.string())),
        ("charge", pa.decimal128(18, 6)),
    ]
)
START = datetime.datetime(2026, 11, 2, 9, 15, 3, 216988, tzinfo=datetime.timezone.utc)
DAYS = {
    "2026-11-02": [
        ("b", 1, 2**53 + 1, None, 16.0, START, ["audio", "video"], None),
        ("b", 0, None, True, -0.0, None, [], None),
    ],
    "2026-11-03": [("a", 0, 1, False, float("nan"), START, None, None), ("a", None, None, None, None, None, None, None)],
}


def write(root, table, days, schema=SCHEMA, key="call_date"):
    for day, rows in days.items():
        folder = f"{root}/{table}/{key}={day}"
        os.makedirs(folder, exist_ok=True)
        columns = [pa.array(column, field.type) for column, field in zip(zip(*rows), schema)]
        parquet.write_table(pa.Table.from_arrays(columns, schema=schema), f"{folder}/part-000001.parquet")


def readers_agree(root):
    write(root, "sessions", DAYS)
    write(root, "ledger", DAYS, key="seen_date")
    faults, compared = compare.compare(root)
    assert not faults, faults
    assert compared == {
        "tables": {"ledger": {"rows": 4, "columns": 8}, "sessions": {"rows": 4, "columns": 8}},
        "readings": 16,
    }, compared
    document = reading.read(root, "duckdb", "dir", "sessions")
    assert document["rows"][0] == ["b", 0, None, True, -0.0, None, [], None, "2026-11-02"], document["rows"][0]
    assert document["rows"][1][2] == 2**53 + 1
    assert document["rows"][1][5] == "2026-11-02T09:15:03.216988Z"
    assert document["rows"][3][4] == "NaN"
    assert document["types"]["modalities"] == "list<string>"
    assert document["types"]["start_date_time"] == "timestamp[us, UTC]"


def the_schema_is_compared(root):
    write(root, "sessions", DAYS)
    kinds = ("string", "int32", "int64", "boolean", "duration_ms", "timestamp", "list<string>", "decimal(18,6)")
    columns = [{"name": name, "type": kind} for name, kind in zip(SCHEMA.names, kinds)]
    faults, _ = compare.compare(root, [{"table": "sessions", "columns": columns}])
    assert not faults, faults
    columns[1]["type"] = "int64"
    faults, _ = compare.compare(root, [{"table": "sessions", "columns": columns}])
    assert len(faults) == 1 and "session_index is int32" in faults[0], faults
    faults, _ = compare.compare(root, [{"table": "calls", "columns": []}])
    assert faults == ["sessions: a directory that the schema does not know"], faults


def a_staging_folder_below_a_table_is_found(root):
    write(root, "sessions", DAYS)
    write(f"{root}/sessions", "_staging", DAYS)
    faults, _ = compare.compare(root)
    assert any("duckdb by dir" in fault for fault in faults), faults


def a_column_of_a_later_file_is_found(root):
    write(root, "sessions", DAYS)
    wider = SCHEMA.append(pa.field("new", pa.string()))
    write(root, "sessions", {"2026-11-04": [("c", 0, 1, None, 1.0, START, [], None, "x")]}, wider)
    faults, _ = compare.compare(root)
    assert any("polars" in fault for fault in faults), faults


def a_duration_column_is_found(root):
    write(root, "sessions", {"2026-11-02": [("a", datetime.timedelta(seconds=1))]}, pa.schema([("call_id", pa.string()), ("x", pa.duration("us"))]))
    faults, _ = compare.compare(root)
    assert any("column x" in fault for fault in faults), faults


def nothing_to_read_is_a_fault(root):
    faults, compared = compare.compare(root)
    assert faults and not compared["tables"]


def differences_are_named(root):
    write(root, "sessions", DAYS)
    one = reading.read(root, "pyarrow", "dir", "sessions")
    other = reading.read(root, "pyarrow", "glob", "sessions")
    assert list(compare.differences(one, other)) == []
    other["rows"][1][2] += 1
    found = list(compare.differences(one, other))
    assert len(found) == 1 and "row 1, column version" in found[0], found
    other["rows"].pop()
    other["row_count"] = 3
    assert list(compare.differences(one, other)) == ["3 rows, not 4"]


CASES = (
    readers_agree,
    the_schema_is_compared,
    a_staging_folder_below_a_table_is_found,
    a_column_of_a_later_file_is_found,
    a_duration_column_is_found,
    nothing_to_read_is_a_fault,
    differences_are_named,
)

if __name__ == "__main__":
    for case in CASES:
        with tempfile.TemporaryDirectory() as root:
            case(root)
        print(f"reader comparison: {case.__name__} ... ok")
    print(f"{len(CASES)} passed, 0 failed")
