"""Exports Teams call records every hour. For Airflow 2.4 or later.

The run takes everything that is new in the notification log, so missed
intervals need no catch-up. The last line of its output, the summary, becomes
the task's XCom; it holds no data of users.
"""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.exceptions import AirflowException, AirflowFailException
from airflow.hooks.subprocess import SubprocessHook
from airflow.models.baseoperator import BaseOperator

TEMPORARY = 75


class CallrecRun(BaseOperator):
    """Runs `callrec run`; tries again only after a temporary failure."""

    def execute(self, context):
        # The client secret is in a file of the worker: client_secret_file in the config.
        self.hook = SubprocessHook()
        command = ["callrec", "--config", "/etc/callrec/callrec.toml", "--log-format", "json", "--progress", "none"]
        result = self.hook.run_command(command + ["run", "--max-runtime", "50m"])
        if result.exit_code == TEMPORARY:
            raise AirflowException("temporary failure, the next try goes on from here")
        if result.exit_code != 0:
            raise AirflowFailException(f"callrec ended with exit code {result.exit_code}")
        return result.output

    def on_kill(self):
        # SIGTERM: the run commits what it has fetched, then ends.
        self.hook.send_sigterm()


with DAG(
    dag_id="callrec",
    schedule="17 * * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
):
    CallrecRun(task_id="export", retries=3, retry_delay=timedelta(minutes=5), execution_timeout=timedelta(minutes=55))
