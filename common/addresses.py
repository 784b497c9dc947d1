"""Where a request comes from: headers about that are believed only when a proxy of ours has sent them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from django.conf import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_address(text: str) -> Address | None:
    """An address; one of IPv4 written as IPv6 is the one of IPv4."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_trusted(address: Address | None) -> bool:
    """Is it one of ARGUS_TRUSTED_PROXIES?"""
    return address is not None and any(address in network for network in settings.ARGUS_TRUSTED_PROXIES)


def came_through_trusted_proxy(headers: Mapping[str, str]) -> bool:
    """Was the connection made by a trusted proxy? `headers` is a request's META."""
    return is_trusted(parse_address(headers.get("REMOTE_ADDR", "")))


def client_address(headers: Mapping[str, str]) -> Address | None:
    """Who called the outermost trusted proxy, or us; None when that cannot be said.

    With ARGUS_TRUSTED_PROXIES the last address of X-Forwarded-For that is no proxy of ours; else, with ARGUS_PROXIES, the one that many
    places from the end, as the proxies in front are known by number only.
    """
    direct = parse_address(headers.get("REMOTE_ADDR", ""))
    given = headers.get("HTTP_X_FORWARDED_FOR", "").strip()
    forwarded = [parse_address(part) for part in given.split(",")] if given else []
    if settings.ARGUS_TRUSTED_PROXIES:
        hops = [*forwarded, direct]
        while len(hops) > 1 and is_trusted(hops[-1]):
            hops.pop()
        return hops[-1]
    proxies = int(str(settings.REST_FRAMEWORK["NUM_PROXIES"]))
    if not proxies or not forwarded:
        return direct
    return forwarded[-min(proxies, len(forwarded))]


def as_subject(address: Address | None) -> str:
    """What is counted as one caller: an IPv4 address, or the /64 that one subscriber has of IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address) if address else "unknown"
