"""Rows of every table, and sums over a few columns, of the datasets of all peers.

usage: check.py DATASET…        prints one JSON object a dataset
"""

import json
import sys
from pathlib import Path

import duckdb

SUMS = {
    "calls": ["sum(version)", "count(organizer_id)", "count(organizer_display_name)", "sum(len(modalities))", "max(end_date_time)::VARCHAR"],
    "participants": ["count(identity_id)", "count(identity_tenant_id)", "sum(participant_index)", "sum(len(administrative_unit_ids))"],
    "sessions": ["count(caller_identity_id)", "count(callee_identity_id)", "count(failure_reason)", "sum(caller_cpu_cores_count)", "max(start_date_time)::VARCHAR"],
    "segments": ["count(caller_identity_display_name)", "count(callee_user_agent_platform)", "sum(segment_index)"],
    "media": ["sum(caller_network_link_speed)", "sum(callee_device_render_mute_event_ratio)", "sum(media_index)"],
    "streams": ["sum(packet_utilization)", "sum(average_jitter_ms)", "sum(rms_freeze_duration_ms)", "sum(average_packet_loss_rate)", "count(video_codec)", "sum(was_media_bypassed::INT)", "sum(stream_index)"],
    "trace_route_hops": ["sum(round_trip_time_ms)", "count(ip_address)", "sum(hop_index)", "count(*) FILTER (side = 'caller')"],
    "feedback_tokens": ["sum(value::INT)", "count(DISTINCT token)", "count(segment_id)", "count(*) FILTER (side = 'caller')"],
}  # fmt: skip


def main() -> None:
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    for dataset in sys.argv[1:]:
        found = {"rows": {}, "sums": {}}
        for table, sums in SUMS.items():
            files = f"read_parquet('{dataset}/{table}/**/*.parquet', hive_partitioning = true)"
            if not any(Path(dataset, table).rglob("*.parquet")):
                found["rows"][table] = 0
                continue
            found["rows"][table] = db.execute(f"SELECT count(*) FROM {files}").fetchone()[0]
            columns = {row[0] for row in db.execute(f"DESCRIBE SELECT * FROM {files}").fetchall()}
            if "call_id" not in columns or "call_date" not in columns:
                # A peer that names its columns and tables by its own rules: rows alone.
                continue
            values = db.execute(f"SELECT {', '.join(sums)}, count(DISTINCT call_date) FROM {files}").fetchone()
            rounded = [float(f"{value:.10g}") if isinstance(value, (int, float)) else str(value) for value in values]
            found["sums"][table] = dict(zip([*sums, "dates"], rounded))
        print(json.dumps(found))


main()
