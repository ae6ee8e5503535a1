"""views.py ROOT FILE.sql: the views of `callrec schema --format sql` in DuckDB.

Every view opens, `stream_facts` has one row a stream, and `stream_ends` one row
per stream and participant end.
"""

import sys

import duckdb


def main(root, sql):
    database = duckdb.connect()
    with open(sql, encoding="utf-8") as file:
        database.execute(file.read())

    def one(query):
        return database.execute(query).fetchone()[0]

    views = [name for (name,) in database.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
    for view in views:
        database.execute(f"SELECT * FROM {view}").fetchall()
    streams = one(f"SELECT count(*) FROM read_parquet('{root}/streams/call_date=*/*.parquet', hive_partitioning = true)")
    assert one("SELECT count(*) FROM stream_facts") == streams, "stream_facts has not one row a stream"
    keys = "call_id, session_index, segment_index, media_index, stream_index"
    assert one(f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM stream_facts)") == streams, "stream_facts repeats a stream"
    ends = one(
        "SELECT sum((sender_endpoint_kind IS NOT DISTINCT FROM 'participant')::INT"
        " + (receiver_endpoint_kind IS NOT DISTINCT FROM 'participant')::INT) FROM streams"
    )
    assert one("SELECT count(*) FROM stream_ends") == ends > 0, "stream_ends has another number of ends"
    poor = one("SELECT count(*) FROM stream_facts WHERE quality = 'poor'")
    assert poor > 0 and poor == one("SELECT count(*) FROM streams WHERE len(poor_reasons) > 0"), "poor streams differ"
    print(f"{len(views)} views, {streams} streams, {ends} ends, {poor} poor")


if __name__ == "__main__":
    main(*sys.argv[1:])
