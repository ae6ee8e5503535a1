"""Runs a command and prints wall time, CPU time and peak memory of its whole process tree as JSON.

usage: measure.py COMMAND ARGUMENT…

Processes that outlive the command (a JVM) are adopted and waited for, so that their
CPU time counts. The peak is the sum of the peaks of the processes that this one
waits for; each is the peak of that process or of its largest child.
"""

import ctypes
import json
import os
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    begun = time.monotonic()
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    cpu, peak, code, wall = 0.0, 0, None, None
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu += usage.ru_utime + usage.ru_stime
        peak += usage.ru_maxrss * 1024
        if pid == command.pid:
            wall, code = time.monotonic() - begun, os.waitstatus_to_exitcode(status)
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "code": code}))


main()
