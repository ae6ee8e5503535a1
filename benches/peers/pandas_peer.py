"""pandas: json and json_normalize, a piece of the file at a time; frames partitioned by to_parquet."""

import json
import os
from itertools import islice

import pandas as pd
import pyarrow as pa
from projection import IDS, LEVELS, Source, Table, arguments

# Records that are in memory at a time.
PIECE = 2000
ARROW = {
    "string": pa.string(), "boolean": pa.bool_(), "int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64(),
    "timestamp": pa.timestamp("us", "UTC"), "duration_ms": pa.float64(), "list<string>": pa.list_(pa.string()),
}  # fmt: skip


def elements(record: dict, source: Source):
    """The rows of a source: (keys, element)."""

    def below(keys: dict, at: dict, lists: list):
        if not lists:
            yield keys, at
            return
        names = lists[0]
        found = at
        for name in names:
            found = (found or {}).get(name)
        if source.is_map and len(lists) == 1:
            for token, value in (found or {}).items():
                if value is not None:
                    yield keys, {"key": token, "value": value}
            return
        level = next((level for level, name in LEVELS.items() if [name] == names), None)
        for position, element in enumerate(found or ()):
            more = {f"{level}_index": position} if level else {"participant_index": position, "hop_index": position}
            if level in IDS:
                more[f"{level}_id"] = element.get("id")
            yield from below(keys | more, element, lists[1:])

    keys = {"call_id": record["id"], "call_start_date_time": record["startDateTime"]} | source.constants
    yield from below(keys, record, source.lists)


def series(frame: pd.DataFrame, column) -> pd.Series:
    """The first of the paths that is not null."""
    found = None
    for path in column.paths:
        name = ".".join(path)
        if len(path) > 1 and path[-2].endswith("[]"):
            parent = ".".join([*path[:-2], path[-2].removesuffix("[]")])
            if parent in frame:
                lists = frame[parent]
                return lists.map(lambda items: [item[path[-1]] for item in items], na_action="ignore")
        elif name in frame:
            found = frame[name] if found is None else found.combine_first(frame[name])
    return pd.Series(None, index=frame.index, dtype=object) if found is None else found


def typed(cells: pd.Series, of: str) -> pd.Series:
    if of == "timestamp":
        cells = pd.to_datetime(cells, format="ISO8601", utc=True)
    elif of == "duration_ms":
        cells = pd.to_timedelta(cells).dt.total_seconds() * 1000
    elif of in ("int32", "int64", "float64"):
        cells = pd.to_numeric(cells)
    elif of == "list<string>":
        cells = cells.astype(object)
    if of == "timestamp":
        cells = cells.dt.floor("us").astype(pd.ArrowDtype(ARROW[of]))
    return cells.astype(pd.ArrowDtype(ARROW[of]))


def rows(table: Table, source: Source, records: list) -> pd.DataFrame:
    keys, found = [], []
    for record in records:
        if table.name == "participants" and source.lists == [["participants"]] and record.get("participants_v2"):
            continue
        for key, element in elements(record, source):
            keys.append(key)
            found.append(element)
    # The lists of the level below are rows of another table.
    below = {*LEVELS.values(), "participants", "participants_v2", "traceRouteHops"}
    trimmed = [{name: of for name, of in element.items() if name not in below} for element in found]
    flat = pd.json_normalize(trimmed)
    given = pd.DataFrame(keys)
    columns = {column.name: column for column in source.columns}
    cells = {}
    for name, of, kind in table.columns:
        values = series(flat, columns[name]) if name in columns else given.get(name)
        if values is None:
            values = pd.Series(None, index=flat.index, dtype=object)
        cells[name] = typed(values, of)
    starts = given.get("call_start_date_time", pd.Series(dtype=object))
    cells["call_date"] = typed(starts, "timestamp").dt.strftime("%Y-%m-%d")
    return pd.DataFrame(cells)


def main() -> None:
    given = arguments()
    with open(given.input, encoding="utf-8") as file:
        number = 0
        while lines := list(islice(file, PIECE)):
            records = [json.loads(line) for line in lines]
            for table in given.tables:
                parts = [rows(table, source, records) for source in table.sources]
                frame = pd.concat([part for part in parts if len(part)], ignore_index=True)
                frame.to_parquet(
                    given.output / table.name,
                    engine="pyarrow",
                    index=False,
                    partition_cols=["call_date"],
                    compression="zstd",
                    compression_level=given.level,
                    basename_template=f"part-{number}-{{i}}.parquet",
                    existing_data_behavior="overwrite_or_ignore",
                )
            number += 1


if __name__ == "__main__":
    main()
    # All is written. Threads of Arrow may still let go of numpy arrays, which aborts an
    # interpreter that is ending: github.com/apache/arrow/issues/34314
    os._exit(0)
