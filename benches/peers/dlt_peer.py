"""dlt: records as they are, which it normalizes to tables of its own names, on all cores.

It sets the codec, but not its level, which is that of pyarrow (1). Lengths stay
text, children carry `_dlt_parent_id` in place of the keys, there are no folders by
date. So rows alone are compared.
"""

import os
import re
import shutil
import sys
from itertools import islice
from pathlib import Path

PIECE = 500
# So many records a file, and the files are normalized side by side.
os.environ |= {
    "NORMALIZE__WORKERS": sys.argv[-1],
    "SOURCES__DATA_WRITER__FILE_MAX_ITEMS": "2000",
    "NORMALIZE__DATA_WRITER__COMPRESSION": "zstd",
    "NORMALIZE__START_METHOD": "spawn",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
}

import dlt
from dlt.common.json import json
from projection import arguments

TABLES = {
    r"calls": "calls",
    r"calls__participants(_v2)?": "participants",
    r"calls__sessions": "sessions",
    r"calls__sessions__segments": "segments",
    r"calls__sessions__segments__media": "media",
    r"calls__sessions__segments__media__streams": "streams",
    r"calls__sessions__segments__media__calle[re]_network__trace_route_hops": "trace_route_hops",
    r"calls__sessions__(segments__)?calle[re]__feedback__tokens": "feedback_tokens",
}


def prepared(record: dict) -> dict:
    """Two places where the tables are not those of the record's own lists."""
    if record.get("participants_v2"):
        record.pop("participants", None)
    for session in record["sessions"]:
        for part in (session, *session["segments"]):
            for side in ("caller", "callee"):
                feedback = (part.get(side) or {}).get("feedback")
                if feedback:
                    tokens = feedback["tokens"] or {}
                    feedback["tokens"] = [{"token": name, "value": value} for name, value in tokens.items()]
    return record


def main() -> None:
    given = arguments()

    @dlt.resource(name="calls", write_disposition="append")
    def calls():
        with open(given.input, "rb") as file:
            while lines := list(islice(file, PIECE)):
                yield [prepared(json.loadb(line)) for line in lines]

    work = given.output / "pipeline"
    pipeline = dlt.pipeline(
        pipeline_name="calls",
        destination=dlt.destinations.filesystem(bucket_url=given.output.resolve().as_uri()),
        dataset_name="dataset",
        pipelines_dir=str(work),
        progress=None,
    )
    pipeline.run(calls(), loader_file_format="parquet")
    shutil.rmtree(work)
    for made in Path(given.output, "dataset").iterdir():
        for pattern, table in TABLES.items():
            if re.fullmatch(pattern, made.name):
                target = given.output / table / made.name
                target.parent.mkdir(exist_ok=True)
                made.rename(target)


if __name__ == "__main__":
    main()
