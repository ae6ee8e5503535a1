"""compare.py ROOT [SCHEMA.json]: do all readers see the same in all tables?

Every table below ROOT is read by every reader in both ways and compared with
what pyarrow reads from the directory: column names and their order, types,
rows. With the output of `callrec schema --format json` columns and types are
compared with it too. Exit code 1 with each difference on stderr; otherwise one
JSON object on stdout: what was compared.
"""

import json
import sys

import reading

# What each reader makes of the dates in the directory names.
PARTITION_TYPES = {"pandas": "category", "pyarrow": "category of string", "polars": "date", "duckdb": "date"}
# How the schema calls the types, and what they are in a file.
FILE_TYPES = {
    "string": "string",
    "boolean": "boolean",
    "int32": "int32",
    "int64": "int64",
    "float64": "float64",
    "decimal(18,6)": "decimal128(18,6)",
    "timestamp": "timestamp[us, UTC]",
    "duration_ms": "float64",
    "list<string>": "list<string>",
    "list<int64>": "list<int64>",
}
SHOWN = 5


def differences(expected, found):
    """What differs between two readings of one table, in words."""
    if expected["columns"] != found["columns"]:
        missing = [name for name in expected["columns"] if name not in found["columns"]]
        more = [name for name in found["columns"] if name not in expected["columns"]]
        yield f"columns differ: missing {missing}, more {more}" if missing or more else "columns are in another order"
        return
    for name, kind in expected["types"].items():
        if found["types"][name] != kind:
            yield f"column {name} is {found['types'][name]}, not {kind}"
    if expected["row_count"] != found["row_count"]:
        yield f"{found['row_count']} rows, not {expected['row_count']}"
        return
    columns = expected["columns"] + [expected["partition_key"]]
    cells = (
        (number, name, a, b)
        for number, (left, right) in enumerate(zip(expected["rows"], found["rows"]))
        for name, a, b in zip(columns, left, right)
        if type(a) is not type(b) or repr(a) != repr(b)
    )
    for count, (number, name, a, b) in enumerate(cells):
        if count == SHOWN:
            yield "and more"
            return
        yield f"sorted row {number}, column {name}: {b!r}, not {a!r}"


def against_schema(table, found):
    """What differs between a reading and the description of the table."""
    expected = [column["name"] for column in table["columns"]]
    if expected != found["columns"]:
        yield f"columns are {found['columns']}, the schema has {expected}"
        return
    for column in table["columns"]:
        kind = FILE_TYPES.get(column["type"], f"?{column['type']}")
        if found["types"][column["name"]] != kind:
            yield f"column {column['name']} is {found['types'][column['name']]}, the schema has {kind}"


def compare(root, schema=None):
    """All differences below root, and what was compared."""
    faults, compared, readings = [], {}, 0
    by_name = {table["table"]: table for table in schema or []}
    for table in reading.tables(root):
        first = None
        for reader in ("pyarrow", *(name for name in reading.READERS if name != "pyarrow")):
            for way in reading.WAYS:
                where = f"{table}, {reader} by {way}"
                try:
                    found = reading.read(root, reader, way, table)
                # A reader may fail with any error of its own: that is a finding.
                except Exception as error:  # noqa: BLE001
                    faults.append(f"{where}: {type(error).__name__}: {error}")
                    continue
                readings += 1
                kind = PARTITION_TYPES[reader]
                # A month is no date to any of them.
                kind = "string" if kind == "date" and found["partition_key"] == "run_month" else kind
                if found["partition_type"] != kind:
                    faults.append(f"{where}: the partition key is {found['partition_type']}, not {kind}")
                if first is None:
                    first = found
                    compared[table] = {"rows": found["row_count"], "columns": len(found["columns"])}
                    unknown = [name for name, kind in found["types"].items() if "?" in kind]
                    faults.extend(f"{where}: column {name} is {found['types'][name]}" for name in unknown)
                    if table in by_name:
                        faults.extend(f"{where}: {text}" for text in against_schema(by_name[table], found))
                    elif schema and table != "ledger":
                        faults.append(f"{table}: a directory that the schema does not know")
                else:
                    faults.extend(f"{where}: {text}" for text in differences(first, found))
    if not compared:
        faults.append(f"no table in {root}")
    return faults, {"tables": compared, "readings": readings}


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    schema = None
    if len(sys.argv) == 3:
        with open(sys.argv[2], encoding="utf-8") as file:
            schema = json.load(file)
    faults, compared = compare(sys.argv[1], schema)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(json.dumps(compared))


if __name__ == "__main__":
    main()
