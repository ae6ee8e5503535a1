"""The loop of kills.rs on dlt: SIGKILL at random moments to a pipeline that
appends a growing log of calls to Parquet files (filesystem destination,
incremental by position), and every few kills a run that is left alone.

usage: dlt_loop.py KILLS SEEDS        prints one JSON object
       dlt_loop.py run PLACE          one run of the pipeline
"""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

COMPARE_EVERY = 20
# A run that is left alone may fail so often in a row; then nobody but a person helps.
PATIENCE = 3


def run(place: Path) -> None:
    import dlt

    @dlt.resource(name="calls", write_disposition="append")
    def calls(position=dlt.sources.incremental("position", initial_value=0)):
        with open(place / "events.jsonl", encoding="utf-8") as log:
            for line in log:
                yield json.loads(line)

    pipeline = dlt.pipeline(
        pipeline_name="calls",
        destination=dlt.destinations.filesystem(bucket_url=(place / "out").as_uri()),
        dataset_name="dataset",
        pipelines_dir=str(place / "work"),
        progress=None,
    )
    pipeline.run(calls(), loader_file_format="parquet")


class World:
    """What the source has, and one dataset that is made of it."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.place = Path(tempfile.mkdtemp(prefix="dlt-"))
        self.lines = 0

    def step(self) -> None:
        with open(self.place / "events.jsonl", "a", encoding="utf-8") as log:
            for _ in range(self.random.randrange(3)):
                self.lines += 1
                sessions = [{"id": n, "device": "headset"} for n in range(self.random.randrange(1, 4))]
                call = {"position": self.lines, "id": f"call-{self.random.randrange(60)}", "sessions": sessions}
                log.write(json.dumps(call) + "\n")

    def command(self) -> list[str]:
        return [sys.executable, __file__, "run", str(self.place)]

    def stored(self) -> tuple[Counter, int]:
        """How often each line is in the files, and how many files cannot be read."""
        import pyarrow.parquet

        found, torn = Counter(), 0
        for path in (self.place / "out").glob("dataset/calls/*.parquet"):
            try:
                found.update(pyarrow.parquet.read_table(path, columns=["position"])["position"].to_pylist())
            except Exception:
                torn += 1
        return found, torn


def main(kills: int, seeds: int) -> dict:
    figures = Counter(series=0)
    wedges = Counter()
    for seed in range(seeds):
        world, killed, usual = World(seed), 0, 3.0
        figures["series"] += 1
        world.step()
        while killed < kills // seeds:
            world.step()
            begun = time.monotonic()
            child = subprocess.Popen(world.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                child.wait(timeout=usual * world.random.uniform(0, 1.2))
                usual = (usual * 7 + time.monotonic() - begun) / 8
                continue
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
            killed += 1
            figures["kills"] += 1
            if killed % COMPARE_EVERY:
                continue
            for _ in range(PATIENCE):
                alone = subprocess.run(world.command(), capture_output=True, text=True, check=False)
                if alone.returncode == 0:
                    # A run that finds a package of a killed one loads that and nothing new.
                    alone = subprocess.run(world.command(), capture_output=True, text=True, check=False)
                    break
            figures["comparisons"] += 1
            if alone.returncode != 0:
                figures["wedged"] += 1
                cause = re.search(r"^([\w.]+(?:Error|Exception|Failed\w*)): .*", alone.stderr, re.MULTILINE)
                wedges[cause[1].split(".")[-1] if cause else "another"] += 1
                print(f"dlt: seed {seed} after {killed} kills: {cause and cause[0]}", file=sys.stderr)
                # Only a new working directory and dataset go on from here.
                shutil.rmtree(world.place)
                world = World(seed * 1000 + killed)
                figures["series"] += 1
                world.step()
                continue
            found, torn = world.stored()
            figures["torn"] += torn
            figures["doubled"] += sum(count - 1 for count in found.values())
            figures["lost"] += sum(position not in found for position in range(1, world.lines + 1))
        print(f"dlt: seed {seed}: {dict(figures)}", file=sys.stderr)
        shutil.rmtree(world.place)
    names = ["series", "kills", "comparisons", "lost", "doubled", "torn", "wedged"]
    return {name: figures[name] for name in names} | {"wedged_by": dict(wedges)}


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(Path(sys.argv[2]))
    else:
        print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
