"""Takes pictures of a running demo: `python -m tests.browser.screenshots http://127.0.0.1:8000 var/demo/logins.json docs/img`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.browser.chromium import browser

ROW = "[...document.querySelectorAll('tr a[href*=\"/change/\"]')].find(link => link.closest('tr').textContent.includes('{}')).href"


def main(url: str, logins: Path, folder: Path) -> None:
    """Dashboard, list, batch with plot, failed batch, phone; light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    with browser() as page:
        page.view(1400)
        page.log_in(url, "ops", json.loads(logins.read_text())["ops"])
        page.open(f"{url}/admin/batches/batch/?severity=critical")
        critical = page.run(ROW.format("Kestrel"))
        page.open(f"{url}/admin/batches/batch/?state=failed")
        failed = page.run(ROW.format("Plover"))
        pages = {"dashboard": "/admin/", "list": "/admin/batches/batch/", "batch": critical, "failed": failed}
        for name, path in pages.items():
            for scheme, width in (("light", 1400), ("dark", 1400), ("light", 400), ("dark", 400)):
                page.view(width, dark=scheme == "dark")
                page.open(path if path.startswith("http") else url + path)
                if name == "batch":
                    page.until("document.querySelector('.uplot canvas')")
                height = min(page.run("document.documentElement.scrollHeight"), 1500)
                page.view(width, height, dark=scheme == "dark")
                suffix = "" if width == 1400 else "-phone"
                (folder / f"{name}-{scheme}{suffix}.png").write_bytes(page.screenshot())


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), Path(sys.argv[2]), Path(sys.argv[3]))
