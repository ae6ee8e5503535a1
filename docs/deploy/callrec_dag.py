"""Exports Teams call records every hour.

The last line of stdout, the summary of the run, becomes the task's XCom. The
run takes everything that is new in the notification log, so missed intervals
need no catch-up. Airflow 2.4 or later.
"""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.operators.bash import BashOperator

# 75 means "run me again": only then a retry makes sense.
COMMAND = """
set -u
code=0
callrec --config /etc/callrec/callrec.toml --log-format json --progress none \
  run --run-id "$AIRFLOW_CTX_DAG_RUN_ID-$AIRFLOW_CTX_TRY_NUMBER" --max-runtime 50m || code=$?
exit "$code"
"""

with DAG(
    dag_id="callrec",
    schedule="17 * * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
):
    # AZURE_CLIENT_SECRET comes from the worker's secrets backend, never from here.
    export = BashOperator(
        task_id="export",
        bash_command=COMMAND,
        append_env=True,
        skip_on_exit_code=None,
        execution_timeout=timedelta(minutes=55),
    )
