"""Makes the captures of this directory with fastavro, which shares no code with the reader."""

import json
from pathlib import Path

import fastavro

PROPERTIES = {"type": "map", "values": ["long", "double", "string", "bytes"]}
SCHEMA = {
    "type": "record",
    "name": "EventData",
    "namespace": "Microsoft.ServiceBus.Messaging",
    "fields": [
        {"name": "SequenceNumber", "type": "long"},
        {"name": "Offset", "type": "string"},
        {"name": "EnqueuedTimeUtc", "type": "string"},
        {"name": "SystemProperties", "type": PROPERTIES},
        {"name": "Properties", "type": PROPERTIES},
        {"name": "Body", "type": ["null", "bytes"]},
    ],
}


def item(number):
    call = f"{number:08}-0000-4000-8000-000000000000"
    return {
        "changeType": "updated",
        "clientState": "sample-client-state",
        "resource": f"communications/callRecords/{call}",
        "resourceData": {"id": call},
        "tenantId": "11111111-1111-4111-8111-111111111111",
    }


def event(number, body):
    return {
        "SequenceNumber": number,
        "Offset": str(number * 5000),
        "EnqueuedTimeUtc": "11/2/2026 10:04:59 AM",
        "SystemProperties": {"x-opt-enqueued-time": 1793613899000, "x-opt-partition-key": "a", "weight": 0.5},
        "Properties": {"raw": b"\x00\x01"} if number % 2 else {},
        "Body": body,
    }


def body(*numbers, **how):
    return json.dumps({"value": [item(number) for number in numbers]}, **how).encode()


EVENTS = [
    event(1, body(1)),
    event(2, None),
    event(3, body(2, 3, indent=2)),
    event(4, b""),
    event(5, b"\xef\xbb\xbf" + body(4)),
]

for codec in ("null", "deflate", "snappy", "zstandard"):
    with (Path(__file__).parent / f"{codec}.avro").open("wb") as file:
        # A sync interval of one byte makes a block of each event.
        fastavro.writer(file, SCHEMA, EVENTS, codec=codec, sync_interval=1, sync_marker=bytes(range(16)))
with (Path(__file__).parent / "empty.avro").open("wb") as file:
    fastavro.writer(file, SCHEMA, [], codec="deflate", sync_marker=bytes(range(16)))
