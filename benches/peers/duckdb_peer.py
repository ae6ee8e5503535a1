"""DuckDB: the file parsed once into a table, views that unnest level by level, a COPY a table, side by side."""

from concurrent.futures import ThreadPoolExecutor

import duckdb
from projection import IDS, LEVELS, Source, Table, arguments, nested

TYPES = {
    "string": "VARCHAR", "boolean": "BOOLEAN", "int32": "INTEGER", "int64": "BIGINT",
    "float64": "DOUBLE", "timestamp": "TIMESTAMPTZ", "duration_ms": "VARCHAR",
}  # fmt: skip


def quoted(name: str) -> str:
    return '"' + name + '"'


def type_of(tree) -> str:
    if isinstance(tree, str):
        return TYPES[tree]
    if isinstance(tree, list):
        return type_of(tree[0]) + "[]"
    if "" in tree:
        return f"MAP(VARCHAR, {type_of(tree[''])})"
    return "STRUCT(" + ", ".join(f"{quoted(name)} {type_of(of)}" for name, of in tree.items()) + ")"


def member(base: str, path: list[str]) -> str:
    if path and path[-1] != "" and len(path) > 1 and path[-2].endswith("[]"):
        above = member(base, [*path[:-2], path[-2].removesuffix("[]")])
        return f"[x.{quoted(path[-1])} for x in {above}]"
    return ".".join([base, *map(quoted, path)]) if base else ".".join(map(quoted, path))


def milliseconds(text: str) -> str:
    """Nearly all are PT…S; the pattern is for the others."""
    pattern = "^P(?:(\\d+)D)?T?(?:(\\d+)H)?(?:(\\d+)M)?(?:([\\d.]+)S)?$"
    part = lambda group: f"coalesce(try_cast(regexp_extract({text}, '{pattern}', {group}) AS DOUBLE), 0)"
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN try_cast({text}[3:-2] AS DOUBLE) IS NOT NULL "
        f"THEN try_cast({text}[3:-2] AS DOUBLE) * 1000 "
        f"ELSE ({part(1)} * 86400 + {part(2)} * 3600 + {part(3)} * 60 + {part(4)}) * 1000 END"
    )


def value(base: str, column) -> str:
    if not column.paths:
        return "NULL" if column.type != "list<string>" else "NULL::VARCHAR[]"
    found = [member(base, path) for path in column.paths]
    cell = found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"
    return milliseconds(cell) if column.type == "duration_ms" else cell


def select(table: Table, source: Source) -> str:
    """The rows of one source, from the view of the level above."""
    keys = {"call_id": "call_id", "call_start_date_time": "call_start_date_time"}
    for level, name in LEVELS.items():
        if [name] in source.lists:
            keys[f"{level}_index"] = f"{level}_index"
            if level in IDS:
                keys[f"{level}_id"] = f"{level}.id"
    above, last = "calls", source.lists[-1] if source.lists else []
    for level, name in LEVELS.items():
        if [name] in source.lists:
            above = f"each_{level}"
    element = ""
    before = f"FROM {above}"
    if source.is_map:
        parent = member(above.removeprefix("each_"), last)
        before = f"FROM (SELECT *, unnest(map_entries({parent})) AS element {before})"
        element = "element"
    elif source.lists and last[0] not in LEVELS.values():
        parent = member("" if above == "calls" else above.removeprefix("each_"), last)
        if table.name == "participants" and last == ["participants"]:
            before += " WHERE len(coalesce(participants_v2, [])) = 0"
        before = f"FROM (SELECT *, unnest({parent}) AS element, generate_subscripts({parent}, 1) - 1 AS position {before})"
        element = "element"
        keys |= {"participant_index": "position", "hop_index": "position"}
    elif source.lists:
        element = above.removeprefix("each_")
    cells = {column.name: value(element, column) for column in source.columns}
    if source.is_map:
        cells = {"token": "element.key", "value": "element.value"}
    columns = []
    for name, of_type, kind in table.columns:
        if name in cells:
            cell = cells[name]
        elif name in source.constants:
            cell = f"'{source.constants[name]}'"
        else:
            cell = keys.get(name, "NULL")
        of = "DOUBLE" if of_type == "duration_ms" else "VARCHAR[]" if of_type == "list<string>" else TYPES[of_type]
        columns.append(f"CAST({cell} AS {of}) AS {name}")
    where = " WHERE element.value IS NOT NULL" if source.is_map else ""
    return f"SELECT {', '.join(columns)}, strftime(call_start_date_time, '%Y-%m-%d') AS call_date {before}{where}"


def main() -> None:
    given = arguments()
    db = duckdb.connect()
    # Few and large rows: with the usual row groups one thread would scan them all.
    db.execute("ATTACH ':memory:' AS records (ROW_GROUP_SIZE 2048); USE records")
    db.execute(f"SET threads = {given.threads}; SET TimeZone = 'UTC'")
    types = {name: type_of(of) for name, of in nested(given.tables).items()}
    db.execute(
        "CREATE TABLE calls AS SELECT *, id AS call_id, startDateTime AS call_start_date_time FROM read_json(?, "
        f"format = 'newline_delimited', maximum_object_size = 268435456, columns = {types})",
        [given.input],
    )
    parent = "calls"
    for level, name in LEVELS.items():
        carried = "call_id, call_start_date_time"
        if parent != "calls":
            carried = f"* EXCLUDE ({parent.removeprefix('each_')}), {parent.removeprefix('each_')}"
        items = quoted(name) if parent == "calls" else f"{parent.removeprefix('each_')}.{quoted(name)}"
        db.execute(
            f"CREATE VIEW each_{level} AS SELECT {carried}, unnest({items}) AS {level}, "
            f"generate_subscripts({items}, 1) - 1 AS {level}_index FROM {parent}"
        )
        parent = f"each_{level}"

    def copy(table: Table) -> None:
        query = " UNION ALL ".join(select(table, source) for source in table.sources)
        target = given.output / table.name
        target.mkdir(parents=True)
        side = db.cursor()
        side.execute("USE records; SET TimeZone = 'UTC'")
        side.execute(
            f"COPY ({query}) TO '{target}' (FORMAT parquet, PARTITION_BY (call_date), "
            f"COMPRESSION zstd, COMPRESSION_LEVEL {given.level})"
        )

    with ThreadPoolExecutor(given.threads) as pool:
        list(pool.map(copy, given.tables))


main()
