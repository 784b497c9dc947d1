"""A token that is revoked while a vehicle sends: the writer stops within moments, and another token goes on where it stopped."""

from __future__ import annotations

import http.client
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import requests

from files.models import Upload
from tests import factories
from tests.flows.live import running
from vehicles.models import ApiToken
from vehicles.tokens import revoke_token

pytestmark = [pytest.mark.cluster, pytest.mark.django_db(transaction=True)]

SIZE = 50_000_000
PIECE = b"\x5a" * 50_000


def test_revoking_stops_what_is_being_sent_and_another_token_goes_on(tmp_path):
    vehicle = factories.vehicle()
    first, second = factories.token(vehicle), factories.token(vehicle)
    with running(tmp_path, workers=False) as live:
        batch_id = live.send(first, {}, complete=False)
        connection = http.client.HTTPConnection(urlsplit(live.url).netloc, timeout=20)
        connection.putrequest("PUT", f"/api/v1/batches/{batch_id}/files/drive.blf")
        connection.putheader("Authorization", f"Bearer {first}")
        connection.putheader("Content-Length", str(SIZE))
        connection.endheaders()
        began = time.monotonic()
        revoked_at, sent = 0.0, 0
        with suppress(OSError):
            while time.monotonic() - began < 20 and sent < SIZE - len(PIECE):
                connection.send(PIECE)
                sent += len(PIECE)
                time.sleep(0.02)  # a vehicle that sends steadily, and not as fast as it can
                if not revoked_at and time.monotonic() - began > 1.5:
                    revoke_token(ApiToken.objects.get(key_id=first.split("_")[2]), actor="user:ops")
                    revoked_at = time.monotonic()
                if revoked_at and _has_answer(connection):
                    break
        stopped_after = time.monotonic() - revoked_at
        assert stopped_after < 3, live.tail()
        assert requests.get(f"{live.url}/api/v1/batches", headers={"Authorization": f"Bearer {first}"}, timeout=10).status_code == 401
        upload = Upload.objects.get(batch_id=batch_id)
        headers = {"Authorization": f"Bearer {second}", "Tus-Resumable": "1.0.0"}
        head = requests.head(f"{live.url}/api/v1/uploads/{upload.pk}", headers=headers, timeout=10)
        assert head.status_code == 200, live.tail()
        assert 0 < int(head.headers["Upload-Offset"]) <= sent


def _has_answer(connection: http.client.HTTPConnection) -> bool:
    """Has the server said something, or hung up?"""
    assert connection.sock is not None
    connection.sock.setblocking(False)
    try:
        return connection.sock.recv(1, 2) is not None  # MSG_PEEK
    except BlockingIOError:
        return False
    finally:
        connection.sock.settimeout(20)
