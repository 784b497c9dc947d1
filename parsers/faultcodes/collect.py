"""Collects fault codes from blocks of CAN frames: a few vector operations pick the frames that may carry one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parsers.can.frames import ERROR, EXTENDED, REMOTE, FrameBlock
from parsers.faultcodes import j1939, obd2, uds
from parsers.faultcodes.codes import FaultCode, FaultCodes
from parsers.faultcodes.isotp import Reassembler

OBD_FIRST, OBD_LAST = 0x7E8, 0x7EF  # answers of the eight OBD ECUs
UDS_FIRST, UDS_LAST = 0x600, 0x7FF  # where makers place their diagnostic ids
FIXED_NORMAL = 0x18DA_0000  # 29-bit diagnostic ids: 18DA, target, source
FIXED_NORMAL_MASK = 0x1FFF_0000
TESTER_FIRST = 0xF0  # addresses of testers; what is sent to one is an answer
DIRECT_GROUPS = np.array(sorted(j1939.STATUS_OF_PGN), np.uint32)
INTERESTING = np.zeros(256, bool)
INTERESTING[[*obd2.STATUS_OF_SERVICE, uds.POSITIVE]] = True


class FaultCollector:
    """Reads OBD-II, UDS and J1939 fault codes out of the frames as they pass.

    `channels` are the display names that `FrameBlock.channel` indexes; `shift_ns` is added to every time.
    """

    def __init__(self, channels: list[str], shift_ns: int = 0, limit: int = 1000) -> None:
        self.channels = channels
        self.shift_ns = shift_ns
        self.codes = FaultCodes(limit)
        self._isotp = Reassembler()
        self._transport = j1939.Transport()

    def add(self, block: FrameBlock) -> None:
        """Takes the next block in file order."""
        identifier, flags, length = block.arbitration_id, block.flags, block.length
        usable = (length > 0) & (flags & (ERROR | REMOTE) == 0)
        extended = flags & EXTENDED != 0
        isotp = np.where(
            extended,
            (identifier & FIXED_NORMAL_MASK == FIXED_NORMAL) & (identifier >> 8 & 0xFF >= TESTER_FIRST),
            (identifier >= UDS_FIRST) & (identifier <= UDS_LAST),
        )
        self._diagnostics(block, np.flatnonzero(isotp & usable))
        if extended.any():
            full = usable & extended & (length >= 8)
            group = identifier >> 8 & 0x3FFFF
            self._direct(block, np.flatnonzero(full & np.isin(group, DIRECT_GROUPS)))
            transport = group & 0x3FF00
            self._packets(block, np.flatnonzero(full & ((transport == j1939.TP_CM) | (transport == j1939.TP_DT))))

    def _diagnostics(self, block: FrameBlock, rows: NDArray[np.intp]) -> None:
        if not len(rows):
            return
        offset = block.data_offset[rows]
        first, second, third = (block.data[offset + i] for i in range(3))
        kind = first >> 4
        single = (kind == 0) & np.where(first == 0, INTERESTING[third], INTERESTING[second])
        # The service of a first frame follows its length; a 32-bit length is six bytes long.
        long_length = (first == 0x10) & (second == 0)
        start = (kind == 1) & np.where(long_length, INTERESTING[block.data[offset + 6]], INTERESTING[third])
        wanted = single | start
        if not self._isotp.waiting and not wanted.any():
            return
        # While a message is being put together every frame of its sender counts: a new one ends it.
        active = (kind <= 2) if self._isotp.waiting else (kind <= 2) & (np.cumsum(start) > 0)
        for row in rows[wanted | active].tolist():
            self._diagnostic_frame(block, row)

    def _diagnostic_frame(self, block: FrameBlock, row: int) -> None:
        channel, identifier = int(block.channel[row]), int(block.arbitration_id[row])
        extended = bool(block.flags[row] & EXTENDED)
        done = self._isotp.feed((channel, extended, identifier), _payload(block, row), int(block.t_ns[row]))
        if done is None:
            return
        t_ns, message = done
        faults = uds.parse(message)
        if not faults and (extended or OBD_FIRST <= identifier <= OBD_LAST):
            faults = obd2.parse(message)
        self._add(faults, f"{identifier:x}", channel, t_ns, t_ns, 1)

    def _direct(self, block: FrameBlock, rows: NDArray[np.intp]) -> None:
        """Single-frame diagnostic messages are repeated each second: equal ones are read once."""
        if not len(rows):
            return
        at = block.data_offset[rows][:, None] + np.arange(8)
        words = block.data[at].view(np.uint64)[:, 0]
        sender = block.channel[rows].astype(np.uint64) << np.uint64(32) | block.arbitration_id[rows]
        order = np.lexsort((words, sender))
        new = np.ones(len(rows), bool)
        new[1:] = (np.diff(sender[order]) != 0) | (np.diff(words[order]) != 0)
        for same in np.split(order, np.flatnonzero(new)[1:]):
            row = int(rows[same[0]])
            identifier = int(block.arbitration_id[row])
            times = block.t_ns[rows[same]]
            faults = j1939.parse(j1939.pgn(identifier), _payload(block, row)[:8])
            self._add(faults, f"{identifier & 0xFF:02x}", int(block.channel[row]), int(times.min()), int(times.max()), len(same))

    def _packets(self, block: FrameBlock, rows: NDArray[np.intp]) -> None:
        for row in rows.tolist():
            identifier = int(block.arbitration_id[row])
            if not self._transport.waiting and j1939.pgn(identifier) != j1939.TP_CM:
                continue
            channel = int(block.channel[row])
            done = self._transport.feed(channel, identifier, _payload(block, row), int(block.t_ns[row]))
            if done is not None:
                t_ns, group, message = done
                self._add(j1939.parse(group, message), f"{identifier & 0xFF:02x}", channel, t_ns, t_ns, 1)

    def _add(self, faults: list[FaultCode], source: str, channel: int, first_ns: int, last_ns: int, count: int) -> None:
        name = self.channels[channel] if channel < len(self.channels) else str(channel)
        for fault in faults:
            self.codes.add(fault, source, name, first_ns + self.shift_ns, last_ns + self.shift_ns, count)


def _payload(block: FrameBlock, row: int) -> bytes:
    offset = int(block.data_offset[row])
    return block.data[offset : offset + int(block.length[row])].tobytes()
