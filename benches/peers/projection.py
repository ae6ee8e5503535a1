"""What every peer writes: the value and key columns of `callrec schema --format json`.

A table is made of one or more sources (lists in the record whose elements are its
rows). Columns that callrec derives are left out; of a list of paths the first
that is not null counts.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

# The members of identity sets that the corpus has. Peers are spared the eight others.
KINDS = ["user", "phone", "guest", "application", "applicationInstance", "azureCommunicationServicesUser"]
# The entries of the map of feedback tokens, for engines without a map type.
TOKENS = ["NoSound", "Echo", "Noisy", "LowVolume", "DistortedSound", "Interruptions"]
# The lists on the way to the rows, by the prefix of the key columns.
LEVELS = {"session": "sessions", "segment": "segments", "media": "media", "stream": "streams"}
# The levels whose ids their children carry.
IDS = ("session", "segment")


@dataclass
class Column:
    name: str
    type: str
    # Below the row's object, best first; each a list of member names.
    paths: list[list[str]] = field(default_factory=list)


@dataclass
class Source:
    """One list whose elements are rows of the table."""

    # The names of the lists from the root: `sessions`, `segments`, `callerNetwork.traceRouteHops`.
    lists: list[list[str]]
    is_map: bool
    constants: dict[str, str]
    columns: list[Column]

    @property
    def above(self) -> str | None:
        """The innermost level that the rows sit in, or are; None for the record."""
        return next((level for level, name in reversed(LEVELS.items()) if [name] in self.lists), None)


@dataclass
class Table:
    name: str
    # In the order of the file: (name, type, "key" or "value").
    columns: list[tuple[str, str, str]]
    sources: list[Source]


def steps(path: str) -> list[str]:
    # `@odata.type` is one member.
    return [step.replace("\0", ".") for step in path.replace("@odata.", "@odata\0").split(".")] if path else []


def is_known(path: str) -> bool:
    """Whether the corpus may have the path: identities of other kinds it has not."""
    members = steps(path)
    for at, member in enumerate(members[:-1]):
        in_set = (at == 0 and len(members) == 2) or members[at - 1] in ("identity", "organizer")
        if in_set and member in OTHER_KINDS:
            return False
    return True


OTHER_KINDS = [
    "device", "encrypted", "onPremises", "assertedIdentity", "acsUser", "spoolUser",
    "acsApplicationInstance", "spoolApplicationInstance",
]  # fmt: skip


def of_source(table: str, rows: str, paths: list[str]) -> list[str]:
    """The two lists of participants have differently shaped elements."""
    if table != "participants":
        return paths
    new = rows == "participants_v2[]"
    first = {"id", "identity", "administrativeUnitInfos[]"}
    return [path for path in paths if (steps(path)[0] in first) == new]


def load(file: str | Path) -> list[Table]:
    tables = []
    for described in json.loads(Path(file).read_text(encoding="utf-8")):
        # Tables of the program itself, and of the telephony logs, whose answers are lists.
        if not described["rows"] or described["rows"][0]["path"] == "value[]":
            continue
        name = described["table"]
        wanted = [c for c in described["columns"] if c["kind"] in ("value", "key")]
        sources = []
        for rows in described["rows"]:
            is_map = rows["path"].endswith("{}")
            lists, part = [], []
            for step in steps(rows["path"]):
                part.append(step.removesuffix("[]").removesuffix("{}"))
                if step.endswith(("[]", "{}")):
                    lists.append(part)
                    part = []
            columns = []
            for column in wanted:
                if column["kind"] != "value":
                    continue
                paths = [column["path"]] if isinstance(column["path"], str) else column["path"]
                paths = [path for path in of_source(name, rows["path"], paths) if is_known(path)]
                columns.append(Column(column["name"], column["type"], [steps(path) for path in paths]))
            sources.append(Source(lists, is_map, rows["constants"], columns))
        tables.append(Table(name, [(c["name"], c["type"], c["kind"]) for c in wanted], sources))
    return tables


def nested(tables: list[Table]) -> dict:
    """The type of a record: an object is a dict, a list a list of one type, a map `{"": type}`, a leaf its name."""
    root: dict = {}

    def put(at: dict, path: list[str], leaf: str) -> None:
        for step in path[:-1]:
            if step.endswith("[]"):
                at = at.setdefault(step.removesuffix("[]"), [{}])[0]
            else:
                at = at.setdefault(step, {})
        if leaf == "list<string>":
            # `x[].id` is one member of every element.
            at[path[-1]] = "string" if path[-2:-1] and path[-2].endswith("[]") else ["string"]
        else:
            at[path[-1]] = leaf

    for table in tables:
        for source in table.sources:
            at = root
            for number, names in enumerate(source.lists):
                for name in names[:-1]:
                    at = at.setdefault(name, {})
                if source.is_map and number == len(source.lists) - 1:
                    at[names[-1]] = {"": "boolean"}
                else:
                    at = at.setdefault(names[-1], [{}])[0]
            if source.is_map:
                continue
            for column in source.columns:
                for path in column.paths:
                    put(at, path, column.type)
    return root


@dataclass
class Arguments:
    input: str
    output: Path
    tables: list[Table]
    level: int
    threads: int


def arguments() -> Arguments:
    if len(sys.argv) != 6:
        sys.exit(f"usage: {sys.argv[0]} RECORDS.ndjson OUTPUT SCHEMA.json ZSTD_LEVEL THREADS")
    record_file, output, schema, level, threads = sys.argv[1:]
    return Arguments(record_file, Path(output), load(schema), int(level), int(threads))
