"""Small MDF files with data at their end, as recorders write them."""

from __future__ import annotations

import struct
from typing import Any

from tests import mdf
from tests.mdf import cg, cn, dg, dt, hd, time_cn


def measured(rows: int = 4) -> mdf.Block:
    """Records of a time and a number."""
    records = dt(b"".join(struct.pack("<dH", i / 4, 3 * i) for i in range(rows)))
    return dg(cg(time_cn(), cn("v", byte=8, bits=16, unit="V"), rows=rows, size=10, name="G"), data=records)


def data_last(head: mdf.Block, *data: mdf.Block, **rest: Any) -> bytes:
    """The file with its data at the end, as recorders write it."""
    return mdf.mdf(head, last=data, **rest)


def measured_file(**rest: Any) -> bytes:
    group = measured()
    data = group.links[2]
    assert isinstance(data, mdf.Block)
    return data_last(hd(group), data, **rest)
