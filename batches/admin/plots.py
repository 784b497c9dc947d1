"""Data of the plot: one signal in a range of time as JSON for the page, and as a picture for browsers without scripts."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from batches.admin import report
from batches.models import Batch
from common.display import number, recorded, visible
from common.errors import ArgusError
from files import results
from parsers.errors import ParseError
from parsers.results.reader import OtherSchema

DEFAULT_POINTS, MOST_POINTS = 1200, 4000
PICTURE_POINTS = 400
MOST_SIGNALS = 8
MS = 10**6
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 220, 70, 10, 28, 26
LONGEST_NUMBER = 20
# Light and dark pages alike: both colours have a contrast above 3 on white and on the dark surface.
INK, LINE = "#7a8699", "#2f7fd6"


def data(request: HttpRequest, batch: Batch) -> JsonResponse:
    """Times in milliseconds after `t0` (text: it exceeds what JavaScript counts exactly), lowest and highest value at each."""
    key = report.parse_key(request.GET.get("signal", ""))
    if key is None:
        return JsonResponse({"error": "signal must be stream/signal"}, status=400)
    try:
        t0, first, last = (whole(request, name) for name in ("t0", "from", "to"))
        points = min(max(whole(request, "points") or DEFAULT_POINTS, 10), MOST_POINTS)
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    try:
        plot = results.plot(batch, *key, first, last, points)
    except ArgusError as error:
        return JsonResponse({"error": error.advice}, status=error.status)
    except OtherSchema as error:
        return JsonResponse({"error": str(error)}, status=409)
    except ParseError:
        return JsonResponse({"error": "The stored result is damaged; parse the files again."}, status=500)
    if t0 is None:
        t0 = plot.t_ns[0] if plot.t_ns else 0
    body = {
        "t0": str(t0),
        "t": [(t - t0) / MS for t in plot.t_ns],
        "low": plot.low,
        "high": plot.high,
        "raw": plot.raw,
        "unit": plot.unit,
        "choices": plot.choices,
    }
    return JsonResponse(body)


def picture(request: HttpRequest, batch: Batch) -> HttpResponse:
    """The same as an SVG document without style or script, one panel a signal."""
    try:
        first, last = whole(request, "from"), whole(request, "to")
    except ValueError as error:
        return HttpResponse(str(error), status=400, content_type="text/plain")
    panels = []
    for key in request.GET.getlist("signal")[:MOST_SIGNALS]:
        parsed = report.parse_key(key)
        if parsed is None:
            continue
        try:
            panels.append((parsed[1], results.plot(batch, *parsed, first, last, PICTURE_POINTS)))
        except (ArgusError, ParseError):
            continue
    absolute = batch.recorded_from is not None
    body = format_html_join("", "{}", ((_panel(place, name, plot, absolute),) for place, (name, plot) in enumerate(panels)))
    height = HEIGHT * max(1, len(panels))
    document = format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}" '
        'font-family="sans-serif" font-size="12">{}</svg>',
        WIDTH,
        height,
        WIDTH,
        height,
        body,
    )
    response = HttpResponse(document, content_type="image/svg+xml")
    response["Content-Disposition"] = f'inline; filename="batch-{str(batch.pk)[:8]}.svg"'
    return response


def _panel(place: int, name: str, plot: Any, absolute: bool) -> SafeString:
    """One signal: the band between lowest and highest, broken where samples are missing; its frame, its ends in words."""
    pieces = unbroken(plot)
    top = place * HEIGHT
    title = f"{visible(name)} [{visible(plot.unit)}]" if plot.unit else visible(name)
    if not pieces:
        return format_html('<text x="{}" y="{}" fill="{}">{}: no samples in this range</text>', LEFT, top + TOP, INK, title)
    t_first, t_last = pieces[0][0][0], pieces[-1][-1][0]
    lowest, highest = min(low for piece in pieces for _, low, _ in piece), max(high for piece in pieces for *_, high in piece)
    spread, length, inner = (highest - lowest) or 1.0, (t_last - t_first) or 1, HEIGHT - TOP - BOTTOM

    def point(t_ns: int, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (t_ns - t_first) / length
        return f"{x:.1f},{top + TOP + inner * (1 - (value - lowest) / spread):.1f}"

    bands = (
        (" ".join([*(point(t, high) for t, _, high in piece), *(point(t, low) for t, low, _ in reversed(piece))]), LINE, LINE)
        for piece in pieces
    )
    area = format_html_join("", '<polygon points="{}" fill="{}" fill-opacity="0.35" stroke="{}" stroke-width="1"/>', bands)
    width = WIDTH - LEFT - RIGHT
    frame = format_html('<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="{}"/>', LEFT, top + TOP, width, inner, INK)
    words = [
        (LEFT, top + TOP - 10, "start", INK, title),
        (LEFT - 6, top + TOP + 10, "end", INK, number(highest)),
        (LEFT - 6, top + TOP + inner, "end", INK, number(lowest)),
        (LEFT, top + HEIGHT - 8, "start", INK, recorded(t_first, absolute)),
        (WIDTH - RIGHT, top + HEIGHT - 8, "end", INK, recorded(t_last, absolute)),
    ]
    return format_html("{}{}{}", frame, area, format_html_join("", '<text x="{}" y="{}" text-anchor="{}" fill="{}">{}</text>', words))


def unbroken(plot: Any) -> list[list[tuple[int, float, float]]]:
    """Runs of (time, lowest, highest) between the gaps that the data mark with None."""
    pieces: list[list[tuple[int, float, float]]] = [[]]
    for t_ns, low, high in zip(plot.t_ns, plot.low, plot.high, strict=True):
        if low is not None and high is not None:
            pieces[-1].append((t_ns, low, high))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def whole(request: HttpRequest, name: str) -> int | None:
    """A whole number from the address, None if it is not there. Raises ValueError with a sentence."""
    text = request.GET.get(name, "")
    if not text:
        return None
    if len(text) > LONGEST_NUMBER or not text.lstrip("-").isdecimal():
        raise ValueError(f"{name} must be a whole number")
    return max(min(int(text), 2**63 - 1), -(2**63))
