"""Channels of a group as a flat list of elements: members of structures and elements of arrays, each with its own name and place."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from parsers.mdf.tree import BYTE_ARRAY, VIRTUAL, Channel

MOST_ELEMENTS = 1 << 16
"""Most elements of one group, so that arrays inside arrays stay bounded."""


@dataclass(frozen=True, slots=True)
class Element:
    """A channel, or the element of one: `shift` bytes behind the place that the channel names, `invalid_shift` bits behind its bit.

    `reason` says why it can be no signal; `length` is the number of elements of an array that is too long.
    """

    name: str
    channel: Channel
    shift: int = 0
    invalid_shift: int = 0
    reason: str = ""
    length: int = 0


def elements(channels: list[Channel], most_array: int) -> Iterator[Element]:
    """The elements of all channels, at most MOST_ELEMENTS; arrays of more than `most_array` elements come as one with a reason."""
    found = itertools.chain.from_iterable(_of_channel(channel, channel.name, 0, 0, most_array) for channel in channels)
    return itertools.islice(found, MOST_ELEMENTS)


def _of_channel(channel: Channel, name: str, shift: int, invalid_shift: int, most_array: int) -> Iterator[Element]:
    if channel.array is None:
        yield from _whole(channel, name, shift, invalid_shift, most_array)
        return
    array = channel.array
    count = math.prod(array.sizes)
    reason = array.reason or (f"array of {count} elements, {most_array} become signals" if not 0 < count <= most_array else "")
    if reason:
        yield Element(name, channel, shift, invalid_shift, reason, count if not array.reason and count < 1 << 62 else 0)
        return
    for place in itertools.product(*map(range, array.sizes)):
        yield from _whole(
            channel,
            name + "".join(f"[{index}]" for index in place),
            shift + sum(map(int.__mul__, place, array.steps)),
            invalid_shift + sum(map(int.__mul__, place, array.invalid_steps)),
            most_array,
        )


def _whole(channel: Channel, name: str, shift: int, invalid_shift: int, most_array: int) -> Iterator[Element]:
    # A structure of members is a run of bytes itself, and says nothing that they do not say.
    if not channel.members or (channel.data_type != BYTE_ARRAY and (channel.bit_count or channel.type == VIRTUAL)):
        yield Element(name, channel, shift, invalid_shift)
    for member in channel.members:
        yield from _of_channel(member, _joined(name, channel.name, member.name), shift, invalid_shift, most_array)


def _joined(path: str, parent: str, name: str) -> str:
    """The name of a member; many writers put that of the structure in front themselves."""
    return f"{path}.{name.removeprefix(parent + '.')}"
