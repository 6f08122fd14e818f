"""What a study prints while it runs: one line per step, and errors. Snakemake finds this package by its name."""

import sys
from logging import ERROR, WARNING, LogRecord
from threading import Event

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# A failed step has printed its own message. Snakemake then repeats the command and the rule that started it.
REPEATED = ("RuleException", "CalledProcessError", "At least one job did not complete successfully.")
STOPPED = Event()  # Set when the user stops the study; steps that end because of it have not failed.


class LogHandler(LogHandlerBase):
    """Print which step starts, how many are done, which failed, and warnings and errors of Snakemake itself."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def emit(self, record: LogRecord) -> None:
        """Print one line to stderr, or nothing."""
        line = line_of(record)
        if line and not STOPPED.is_set():
            print(line, file=sys.stderr, flush=True)


def line_of(record: LogRecord) -> str:
    """Return what to print of one of Snakemake's log records; empty for nothing."""
    event = getattr(record, "event", None)
    if event == LogEvent.JOB_INFO:
        return "" if record.rule_name == "study" else f"\nStep {record.rule_name}"
    if event == LogEvent.PROGRESS:
        done, total = record.done, record.total - 1  # The last one only gathers the others.
        return f"{done} of {total} steps are done" if done <= total else ""
    if event == LogEvent.JOB_ERROR:
        return f"Step {record.rule_name} failed; its message is above."
    if event == LogEvent.SHELLCMD or record.levelno < WARNING:
        return ""
    message = record.getMessage()
    repeated = record.levelno >= ERROR and any(text in message for text in REPEATED)
    return "" if repeated else message
