"""What an analyst asks of the tables, in DuckDB and Polars, timed, with the answers.

usage: queries.py duckdb|polars REPEATS THREADS NAME=KIND=DATASET…

The kind of a dataset says what a question may use: `all` columns, `peers` for those
that come straight from the record, or `month`: all, of files that lie by month in
folders named by its first day. Every repeat asks every dataset every question once,
on a new connection; before the first comes one that is not counted, unless there is
one alone. Prints JSON: by dataset and question the seconds, the bytes read and the
answer.
"""

import json
import os
import sys
import time
from datetime import date

import duckdb
import polars as pl

LEVELS = ["session_index", "segment_index", "media_index", "stream_index"]
CALL = ["call_date", "call_id"]
SESSION = [*CALL, LEVELS[0]]
MEDIA = [*CALL, *LEVELS[:3]]
# The user and the call that are asked for, from the first dataset: who is in most calls, and any call with streams.
USER = "SELECT identity_id FROM {} WHERE identity_id IS NOT NULL GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT 1"
CALL_ID = "SELECT min(call_id) FROM {}"
# Streams that a machine must have sent to be told from others.
LEAST = 20


class DuckDB:
    """SQL on the tables, or on `judged`: one row a stream that is good or poor."""

    # Without the derived columns: the rules of the Call Quality Dashboard on what was measured.
    RULES = """
        CASE WHEN t.packet_utilization = 0 THEN NULL
             WHEN lower(m.label) LIKE '%audio%' THEN
               CASE WHEN t.average_jitter_ms IS NULL AND t.average_packet_loss_rate IS NULL
                         AND t.average_round_trip_time_ms IS NULL THEN NULL
                    WHEN t.average_jitter_ms > 30 OR t.average_packet_loss_rate > 0.1
                         OR t.average_round_trip_time_ms > 500 THEN t.packet_utilization > 500
                    ELSE false END
             WHEN lower(m.label) LIKE '%video%' THEN
               coalesce(t.average_video_frame_loss_percentage > 50,
                        t.average_video_frame_rate < if(lower(m.label) LIKE '%applicationsharing%', 2, 7),
                        t.post_forward_error_correction_packet_loss_rate > 0.15) END"""

    def __init__(self, threads: int, kind: str, dataset: str):
        self.db = duckdb.connect(config={"threads": threads})
        self.db.execute("SET TimeZone = 'UTC'")
        self.dataset = dataset
        self.day = "call_start_date_time::DATE" if kind == "month" else "call_date"
        # What a question gets from the columns that callrec derives, or else how it gets it.
        self.duration = "duration_seconds"
        self.judged = f"""(
            SELECT call_date, call_id, call_start_date_time, session_index, sender_side, media_kind = 'audio' AS is_audio,
                   sender_network_subnet, quality = 'poor' AS poor
            FROM {self.table("streams")} WHERE quality IN ('good', 'poor') AND session_is_test IS NOT TRUE)"""
        if kind == "peers":
            self.duration = "(epoch_us(end_date_time) - epoch_us(start_date_time)) / 1e6"
            self.judged = f"""(
                SELECT * FROM (
                  SELECT t.call_date, t.call_id, t.call_start_date_time, t.session_index,
                         if(t.stream_direction = 'callerToCallee', 'caller', 'callee') AS sender_side,
                         lower(m.label) LIKE '%audio%' AS is_audio,
                         if(t.stream_direction = 'callerToCallee', m.caller_network_subnet, m.callee_network_subnet)
                           AS sender_network_subnet,
                         {self.RULES} AS poor
                  FROM {self.table("streams")} t JOIN {self.table("media")} m USING ({", ".join(MEDIA)})
                  JOIN {self.table("sessions")} s USING ({", ".join(SESSION)})
                  WHERE s.is_test IS NOT TRUE)
                WHERE poor IS NOT NULL)"""

    def table(self, name: str) -> str:
        return f"read_parquet('{self.dataset}/{name}/**/*.parquet', hive_partitioning = true)"

    def rows(self, query: str, *given: str) -> list:
        return self.db.execute(query, given).fetchall()

    def subnets(self, user, call):
        return self.rows(
            f"SELECT {self.day}, sender_network_subnet, count(*) FILTER (poor), count(*) FROM {self.judged} "
            "WHERE sender_network_subnet IS NOT NULL GROUP BY ALL"
        )

    def machines(self, user, call):
        return self.rows(f"""
            SELECT if(j.sender_side = 'caller', s.caller_name, s.callee_name) AS machine,
                   count(*) FILTER (poor) AS breached, count(*) AS counted
            FROM {self.judged} j JOIN {self.table("sessions")} s USING ({", ".join(SESSION)})
            WHERE is_audio AND machine IS NOT NULL GROUP BY ALL HAVING counted >= {LEAST}
            ORDER BY breached / counted DESC, machine LIMIT 20""")

    def user(self, user, call):
        return self.rows(
            f"SELECT call_id, epoch_us(start_date_time), round({self.duration} * 1e3)::BIGINT, type, organizer_id "
            f"FROM {self.table('calls')} SEMI JOIN (SELECT call_date, call_id FROM {self.table('participants')} "
            f"WHERE identity_id = ?) USING ({', '.join(CALL)})",
            user,
        )

    def modalities(self, user, call):
        return self.rows(
            "SELECT c.type, array_to_string(c.modalities, '+'), count(*) FILTER (poor), count(*) "
            f"FROM {self.judged} JOIN {self.table('calls')} c USING ({', '.join(CALL)}) GROUP BY ALL"
        )

    def codecs(self, user, call):
        return self.rows(f"SELECT audio_codec, video_codec, count(*) FROM {self.table('streams')} GROUP BY ALL")

    def call(self, user, call):
        return self.rows(
            f"SELECT {', '.join(LEVELS)}, stream_direction, packet_utilization, audio_codec "
            f"FROM {self.table('streams')} WHERE call_id = ?",
            call,
        )


class Polars:
    """The same, lazily; `judged` is what all about quality begin with."""

    def __init__(self, _threads: int, kind: str, dataset: str):
        of = pl.col
        self.dataset = dataset
        self.day = of("call_start_date_time").dt.date() if kind == "month" else of("call_date")
        self.duration = of("duration_seconds")
        streams = self.table("streams")
        if kind != "peers":
            self.judged = streams.filter(
                of("quality").is_in(["good", "poor"]), of("session_is_test").ne_missing(True)
            ).with_columns(is_audio=of("media_kind") == "audio", poor=of("quality") == "poor")
            return
        self.duration = (of("end_date_time") - of("start_date_time")).dt.total_microseconds() / 1e6
        label, sends = of("label").str.to_lowercase(), of("stream_direction") == "callerToCallee"
        measured = [of("average_jitter_ms"), of("average_packet_loss_rate"), of("average_round_trip_time_ms")]
        breached = pl.any_horizontal(
            (value > limit).fill_null(False) for value, limit in zip(measured, (30, 0.1, 500))
        )
        is_audio = label.str.contains("audio", literal=True)
        audio = (
            pl.when(pl.all_horizontal(value.is_null() for value in measured)).then(None)
            .when(breached).then(of("packet_utilization") > 500)
            .otherwise(False)
        )  # fmt: skip
        least = pl.when(label.str.contains("applicationsharing", literal=True)).then(2).otherwise(7)
        frames = pl.coalesce(
            of("average_video_frame_loss_percentage") > 50,
            of("average_video_frame_rate") < least,
            of("post_forward_error_correction_packet_loss_rate") > 0.15,
        )
        poor = (
            pl.when(of("packet_utilization") == 0).then(None)
            .when(is_audio).then(audio)
            .when(label.str.contains("video", literal=True)).then(frames)
        )  # fmt: skip
        self.judged = (
            streams.join(self.table("media").drop("call_start_date_time", "session_id", "segment_id"), on=MEDIA)
            .join(self.table("sessions").filter(of("is_test").ne_missing(True)).select(SESSION), on=SESSION)
            .with_columns(
                sender_side=pl.when(sends).then(pl.lit("caller")).otherwise(pl.lit("callee")),
                sender_network_subnet=pl.when(sends).then("caller_network_subnet").otherwise("callee_network_subnet"),
                is_audio=is_audio,
                poor=poor,
            )
            .filter(of("poor").is_not_null())
        )

    def table(self, name: str) -> pl.LazyFrame:
        return pl.scan_parquet(f"{self.dataset}/{name}/**/*.parquet", hive_partitioning=True)

    def counts(self, frame: pl.LazyFrame, **by) -> pl.LazyFrame:
        return frame.group_by(**by).agg(poor=pl.col("poor").sum(), judged=pl.len())

    def subnets(self, user, call):
        subnet = pl.col("sender_network_subnet")
        return self.counts(self.judged.filter(subnet.is_not_null()), day=self.day, subnet=subnet)

    def machines(self, user, call):
        named = self.table("sessions").select(*SESSION, "caller_name", "callee_name")
        name = pl.when(pl.col("sender_side") == "caller").then("caller_name").otherwise("callee_name")
        audio = self.judged.filter("is_audio").select(*SESSION, "sender_side", "poor")
        return (
            self.counts(audio.join(named, on=SESSION).filter(name.is_not_null()), machine=name)
            .filter(pl.col("judged") >= LEAST)
            .sort(pl.col("poor") / pl.col("judged"), "machine", descending=[True, False])
            .head(20)
        )

    def user(self, user, call):
        his = self.table("participants").filter(pl.col("identity_id") == user).select(CALL)
        return (
            self.table("calls")
            .join(his, on=CALL, how="semi")
            .select(
                "call_id",
                pl.col("start_date_time").dt.epoch("us"),
                (self.duration * 1e3).round().cast(pl.Int64),
                "type",
                "organizer_id",
            )
        )

    def modalities(self, user, call):
        calls = self.table("calls").select(*CALL, "type", "modalities")
        joined = self.judged.select(*CALL, "poor").join(calls, on=CALL)
        return self.counts(joined, type=pl.col("type"), modalities=pl.col("modalities").list.join("+"))

    def codecs(self, user, call):
        return self.table("streams").group_by("audio_codec", "video_codec").len()

    def call(self, user, call):
        wanted = [*LEVELS, "stream_direction", "packet_utilization", "audio_codec"]
        return self.table("streams").filter(pl.col("call_id") == call).select(wanted)


QUESTIONS = ["subnets", "machines", "user", "modalities", "codecs", "call"]


def ask(engine, threads: int, kind: str, dataset: str, question: str, given: list) -> list:
    answer = getattr(engine(threads, kind, dataset), question)(*given)
    return answer.collect().rows() if isinstance(answer, pl.LazyFrame) else answer


def read() -> int:
    """Bytes that this process has read by system calls so far."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().removeprefix("rchar: "))


def text(rows: list) -> list[str]:
    """The rows in an order of their own, as text that does not tell the engine."""
    return sorted(json.dumps([cell.isoformat() if isinstance(cell, date) else cell for cell in row]) for row in rows)


def main() -> None:
    name, repeats, threads, *datasets = sys.argv[1:]
    engine, repeats, threads = {"duckdb": DuckDB, "polars": Polars}[name], int(repeats), int(threads)
    datasets = [dataset.split("=", 2) for dataset in datasets]
    first = DuckDB(threads, *datasets[0][1:])
    one = lambda query, table: first.rows(query.format(first.table(table)))[0][0]
    given = [one(USER, "participants"), one(CALL_ID, "streams")]
    del first
    found = {dataset: {question: {"wall": [], "cpu": []} for question in QUESTIONS} for dataset, _, _ in datasets}
    for repeat in range(repeats + 1 if repeats > 1 else 1):
        # No dataset always comes first.
        turn = repeat % len(datasets)
        for dataset, kind, path in datasets[turn:] + datasets[:turn]:
            for question in QUESTIONS:
                before, cpu, begun = read(), time.process_time(), time.perf_counter()
                rows = ask(engine, threads, kind, path, question, given)
                wall, cpu, of = time.perf_counter() - begun, time.process_time() - cpu, found[dataset][question]
                if repeat or repeats == 1:
                    of["wall"].append(wall)
                    of["cpu"].append(cpu)
                of["read"], answer = read() - before, text(rows)
                if of.setdefault("answer", answer) != answer:
                    sys.exit(f"{name} answers {question} of {dataset} not twice the same")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    # Polars takes its threads from here, and reads it when it is imported.
    if os.environ.get("POLARS_MAX_THREADS") != sys.argv[3]:
        os.environ["POLARS_MAX_THREADS"] = sys.argv[3]
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()
