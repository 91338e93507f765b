"""``tmon check --notify``: run the checks, record incidents, send notifications."""

import secrets
from collections.abc import Callable

from tmon.db.connect import open_database
from tmon.db.job_runs import JobRun
from tmon.maintenance.backup_dir import write_secret_file
from tmon.watch import check, incidents, outbox
from tmon.watch.check import UNUSABLE, CheckOptions, Report
from tmon.watch.ping import ping

LOCK_WAIT_MS = 10_000  # for other programs' transactions; tmon's own take less than 2 s
STATUS = ("ok", "warning", "critical", "unknown")


def check_and_notify(options: CheckOptions, progress: Callable[[str], None]) -> Report:
    """Run the checks, record what began, lasts and ended in one transaction, and notify.

    If the database can't be written, everything that is found is sent, at each run again.
    ``failures`` of the report says what could not be checked or sent.

    Raises:
        TmonError: no notification can be sent with these settings.
    """
    start_failure = ping(options.settings, "start")
    result = "fail"
    try:
        report = _check_and_notify(options, progress)
        report.failures[:0] = report.unknown
        result = "fail" if report.failures else "success"
    finally:
        end_failure = ping(options.settings, result)
    report.failures += filter(None, (start_failure, end_failure))
    return report


def _check_and_notify(options: CheckOptions, progress: Callable[[str], None]) -> Report:
    options = options._replace(run_jobs=True)
    settings, remote, now_ms = options.settings, options.addresses.remote, options.now_ms
    report = Report()
    try:
        if remote:
            settings.db.parent.mkdir(parents=True, exist_ok=True)
            if settings.secret is None and not settings.secret_file.exists():
                # It only keeps the channels' addresses out of the database.
                write_secret_file(settings.secret_file, f"{secrets.token_hex(32)}\n".encode())
        with open_database(settings.db, create=remote, in_cluster=True) as db:
            db.execute(f"pragma busy_timeout = {LOCK_WAIT_MS}")
            outbox.register_channels(db, settings, now_ms)
            check.run_checks(options, report, progress)
            done = {**report.jobs_done, "check": JobRun(now_ms, STATUS[report.status])}
            incidents.record(db, report.findings, now_ms, skipped=report.skipped, jobs_done=done)
            report.failures = outbox.send_new_events(db, settings, now_ms)
    except UNUSABLE as error:
        report = Report()
        report.add(check.unusable(str(error)))
        check.run_checks(options._replace(run_jobs=False), report, progress)
        report.failures = outbox.send_unrecorded(settings, report.lines())
    return report
