"""How gunicorn serves Argus: `gunicorn -c python:argus_site.gunicorn_conf argus_site.wsgi`; what stands on the command line wins."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "argus_site.settings")

from django.conf import settings

worker_class = "argus_site.web_worker.Worker"
workers = settings.ARGUS_WEB_PROCESSES
# Threads are many because an upload has one for itself while its bytes come. One process uses one core: behind a proxy, several of them.
threads = settings.ARGUS_THREADS
# Connections, idle ones included; each thread has one in hand, the others wait for a first byte or for their next request.
worker_connections = threads * 8
backlog = 1024
# Seconds that a connection may be idle; longer than the proxy in front keeps its own (60 s), or that would write into a closing one.
keepalive = 75
# The worker's main loop has to show signs of life within this time; no request is bounded by it.
timeout = 60
# Uploads that are under way go on for so long after SIGTERM; what is cut then goes on from its offset.
graceful_timeout = 20
# Memory that fragments over weeks is given back, where another process answers meanwhile. The spread keeps them from stopping at once.
max_requests = 200_000 if workers > 1 else 0
max_requests_jitter = 20_000
# A request line holds a file name of 255 bytes, percent-encoded.
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# The heartbeat file must not lie on a disk that can block.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
# It would lie in the home folder, where a second Argus would take it over.
control_socket_disable = True
# Which addresses may set X-Forwarded-Proto is decided by ARGUS_BEHIND_PROXY alone.
forwarded_allow_ips = "127.0.0.1,::1"
