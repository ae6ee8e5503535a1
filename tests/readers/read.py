"""read.py ROOT READER WAY TABLE: one table as one JSON document on stdout.

READER is pandas, pyarrow, polars or duckdb; WAY is dir or glob. Exit code 1
with a message on stderr when the table cannot be read.
"""

import json
import sys

import reading


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    root, reader, way, table = sys.argv[1:]
    try:
        document = reading.read(root, reader, way, table)
    except (reading.NoTable, reading.UnknownType, ValueError) as error:
        sys.exit(f"read.py: {error}")
    json.dump(document, sys.stdout, allow_nan=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
