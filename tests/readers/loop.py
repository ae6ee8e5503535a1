"""Reads a dataset again and again, with one reader, while others change it.

    loop.py ROOT READER SESSIONS_PER_CALL

Says `ready` after the first reading, goes on until stdin is closed, and prints
what it saw as JSON. A file that is gone before it is opened makes it list and
read again, as docs/reading.md says, and so does, with readers that open a file
more than once, an error from a file that was replaced in between. Any other error
is a fault, and so is a call with a number of sessions that no state has.
"""

import collections
import json
import sys
import threading

GONE = ("no such file", "not found", "no files found", "does not exist", "cannot open file", "expanded paths were empty")


def read_pyarrow(root, table):
    import pyarrow.parquet as parquet

    return parquet.read_table(f"{root}/{table}", columns=["call_id", "call_date"]).column("call_id").to_pylist()


def read_polars(root, table):
    import polars

    return polars.scan_parquet(f"{root}/{table}").select("call_id", "call_date").collect()["call_id"].to_list()


def read_polars_one_handle(root, table):
    import glob
    import polars

    files = [open(name, "rb") for name in glob.glob(f"{root}/{table}/call_date=*/*.parquet")]
    tables = [polars.read_parquet(file, columns=["call_id"]) for file in files]
    return polars.concat(tables)["call_id"].to_list() if tables else []


def read_duckdb(root, table):
    import duckdb

    rows = duckdb.connect().execute(f"SELECT call_id, call_date FROM '{root}/{table}/**/*.parquet'").fetchall()
    return [row[0] for row in rows]


OPEN_TWICE = ("polars", "duckdb")
READERS = {
    "pyarrow": read_pyarrow,
    "polars": read_polars,
    "polars_one_handle": read_polars_one_handle,
    "duckdb": read_duckdb,
}


def main():
    root, reader, sessions = sys.argv[1], sys.argv[2], int(sys.argv[3])
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    seen = collections.Counter()
    faults = []
    most = {"calls": 0, "sessions": 0}
    calls = set()
    while not done.is_set() or not seen["readings"]:
        for table, once in (("calls", 1), ("sessions", sessions)):
            try:
                rows = collections.Counter(READERS[reader](root, table))
            except BaseException as error:  # a panic of Polars is no Exception
                text = f"{type(error).__name__}: {error}"
                if isinstance(error, FileNotFoundError) or any(part in text.lower() for part in GONE):
                    seen["listed_again"] += 1
                elif reader in OPEN_TWICE:
                    seen["replaced"] += 1
                else:
                    faults.append(f"{table}: {text}"[:500])
                continue
            seen["readings"] += 1
            calls.update(rows)
            most[table] = max(most[table], *(count // once for count in rows.values()), 0)
            faults += [f"{table}: {call} has {count} rows" for call, count in rows.items() if count % once]
            seen["twice"] += sum(count > once for count in rows.values())
            seen["missing"] += len(calls - set(rows))
        if seen["readings"] and not seen["ready"]:
            seen["ready"] = 1
            print("ready", flush=True)
    print(json.dumps({**seen, "most": most, "faults": faults[:20]}), flush=True)


if __name__ == "__main__":
    main()
