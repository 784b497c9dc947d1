"""Batch list and batch page with 100,000 batches and 500,000 files on PostgreSQL: server time and number of queries.

    python -m tests.with_postgres python -m bench.lists [--batches 100000] [--requests 100]

A request is a call of the whole application (middleware, session, queries, template) without the network. Results go to
bench/results/lists.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from importlib import import_module
from typing import Any

GOAL_MS = 150.0
FILES_PER_BATCH = 5
FILES_OF_ONE = 200
QUERIES = 10  # of a list or a batch page, however many rows there are

# One set of SQL statements: through the models, half a million rows would take minutes.
FILL = """
INSERT INTO vehicles_vehicle (id, vin, name, fleet_id, platform_id, created_at)
SELECT gen_random_uuid(), 'WARGUS00' || (n %% 10) || lpad(n::text, 8, '0'), 'bench ' || n, NULL, %(platform)s, now() FROM generate_series(1, 500) n;

WITH v AS (SELECT array_agg(id) AS ids FROM vehicles_vehicle)
INSERT INTO batches_batch (id, vehicle_id, state, state_changed_at, failed_stage, error_code, error, reason, software, clock, created_at, uploaded_at,
  completed_at, total_files, processed_files, failed_files, total_bytes, expected_worker_count, completed_worker_count, fence, attempt, lease_until,
  worker, event_seq, result_key, recorded_from, recorded_to, clock_flags, worst_severity, finding_count)
SELECT gen_random_uuid(), v.ids[1 + n %% 500], s.state, t.at, CASE WHEN s.state = 'failed' THEN 'scattering' ELSE '' END, '', '', '', '{}', '{}', t.at,
  t.at, CASE WHEN s.state IN ('failed', 'completed') THEN t.at END, %(files)s, CASE WHEN s.state = 'completed' THEN %(files)s ELSE 0 END, 0, 5000000, 0, 0,
  1, 0, 'epoch', '', 0, '', t.at - interval '1 hour', t.at, CASE WHEN n %% 50 = 0 THEN '["1970"]'::jsonb ELSE '[]'::jsonb END,
  (ARRAY['ok', 'ok', 'info', 'warning', 'error', 'critical'])[1 + n %% 6], n %% 4
FROM v, generate_series(1, %(batches)s) n,
  LATERAL (SELECT CASE WHEN n %% 20 = 0 THEN 'failed' WHEN n %% 500 = 1 THEN 'scattering' WHEN n %% 400 = 2 THEN 'pending' ELSE 'completed' END AS state) s,
  LATERAL (SELECT now() - n * interval '3 minutes' AS at) t;

INSERT INTO files_file (id, batch_id, state, name, kind, size, sha256, storage_key, created_at, attempt, crash_count, fence, lease_until, next_attempt_at,
  worker, progress_bytes, result_key, format, detection, parser_version, databases, facts, partial, error_class, error_code, error)
SELECT gen_random_uuid(), b.id, CASE WHEN b.state = 'failed' THEN 'failed' ELSE 'completed' END, 'part-' || n || '.blf', '', 1000000, repeat('0', 64),
  'raw/' || b.id || '/' || n, b.created_at, 1, 0, 1, 'epoch', 'epoch', '', 1000000, 'results/x', 'blf', 'magic', '1', '[]', '{}', false,
  CASE WHEN b.state = 'failed' THEN 'input' ELSE '' END, CASE WHEN b.state = 'failed' THEN 'corrupt' ELSE '' END, ''
FROM batches_batch b, generate_series(1, %(files)s) n;

INSERT INTO diagnosis_finding (id, batch_id, rule, rule_version, severity, code, sentence, action, stream, signal, count, details, created_at)
SELECT gen_random_uuid(), id, 'limits', '1', worst_severity, '', 'A signal was out of its limits.', '', 'Engine', 'Temperature', 1, '{}', created_at
FROM batches_batch WHERE worst_severity <> 'ok';

INSERT INTO events_event (id, batch_id, seq, type, payload, actor, created_at)
SELECT gen_random_uuid(), b.id, n, 'StatusChanged', '{}', 'argus', b.created_at FROM batches_batch b, generate_series(1, 3) n;

ANALYZE;
"""


def main() -> None:
    """Fill a database, ask for the pages, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as folder:
        os.environ["ARGUS_DATA_DIR"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.live_settings"
        os.environ.setdefault("ARGUS_LOG_LEVEL", "ERROR")
        import django

        django.setup()
        measure(options.batches, options.requests)


def fill(batches: int) -> Any:
    """Batches with 5 files each, and one with 200; that one is returned."""
    from django.db import connection
    from django.db.models import F

    from batches.models import Batch
    from bench.pipeline import ROOT, recording
    from files.models import File
    from tests import factories
    from tests.queue import drain
    from vehicles.signal_databases import add_signal_database

    started = time.monotonic()
    with connection.cursor() as cursor:
        for statement in FILL.split(";\n\n"):
            cursor.execute(statement, {"platform": factories.platform().pk, "files": FILES_PER_BATCH, "batches": batches})
    # The one batch is real: a drive that was parsed, gathered and diagnosed, so that its page shows statistics and findings.
    vehicle = factories.vehicle()
    add_signal_database(vehicle.platform, "demo", (ROOT / "demo" / "argus_demo.dbc").read_bytes(), actor="bench")
    one = factories.uploaded({"drive.log": recording(0)}, vehicle)
    drain()
    template = File.objects.get(batch=one)
    File.objects.bulk_create(
        File(
            **{
                **{field.attname: getattr(template, field.attname) for field in File._meta.concrete_fields},
                "id": uuid.uuid4(),
                "name": f"more-{n}.log",
            }
        )
        for n in range(FILES_OF_ONE - 1)
    )
    more = FILES_OF_ONE - 1
    Batch.objects.filter(pk=one.pk).update(total_files=F("total_files") + more, processed_files=F("processed_files") + more)
    print(f"filled in {time.monotonic() - started:.0f} s: {Batch.objects.count()} batches, {File.objects.count()} files")
    return one


def measure(batches: int, requests: int) -> None:
    """Each page `requests` times, after three that warm up."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from batches.models import Batch
    from bench.report import Row, write

    call_command("migrate", verbosity=0)
    one = fill(batches)
    import_module("argus_site.wsgi")  # as the web server does, with what that does to the process
    client = Client()
    client.force_login(User.objects.create_superuser("bench", password="not used"))
    vin = Batch.objects.select_related("vehicle").order_by("pk")[7].vehicle.vin
    pages = {
        "batch list, newest": "/admin/batches/batch/",
        "batch list, state failed": "/admin/batches/batch/?state=failed",
        "batch list, severity critical": "/admin/batches/batch/?severity=critical",
        "batch list, part of a VIN": f"/admin/batches/batch/?q={vin[-8:]}",
        "batch page with 200 files": f"/admin/batches/batch/{one.pk}/change/",
        "dashboard": "/admin/",
    }
    rows = []
    for name, path in pages.items():
        times = []
        for number in range(requests + 3):
            with CaptureQueriesContext(connection) as queries:
                started = time.perf_counter()
                response = client.get(path, headers={"host": "localhost"})
                elapsed = (time.perf_counter() - started) * 1000
            assert response.status_code == 200, (path, response.status_code, response.headers.get("location"))
            if number >= 3:
                times.append(elapsed)
        p95 = statistics.quantiles(times, n=20)[-1]
        print(
            f"{name:32} median {statistics.median(times):6.1f} ms  p95 {p95:6.1f} ms  {len(queries)} queries  {len(response.content) / 1000:.0f} kB"
        )
        rows.append(Row(f"{name}: p95 server time", round(p95, 1), "ms", goal=GOAL_MS, holds=p95 < GOAL_MS))
        if name != "dashboard":  # each of its cards asks for itself
            rows.append(Row(f"{name}: queries", len(queries), "queries", goal=QUERIES, holds=len(queries) <= QUERIES))
    write("lists", rows)


if __name__ == "__main__":
    main()
