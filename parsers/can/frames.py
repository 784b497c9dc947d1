"""A block of CAN frames as typed columns: what every CAN reader yields and every consumer of frames takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXTENDED = 1  # 29-bit arbitration id
FD = 2
REMOTE = 4
ERROR = 8
BRS = 16
ESI = 32
TX = 64


@dataclass(frozen=True, slots=True)
class FrameBlock:
    """N frames in file order; all columns are C-contiguous and have length N, except `data`.

    `t_ns` is the time as the file writes it (absolute or relative: `Recording.start_ns` is added to get UTC).
    `channel` indexes `Recording.channels`. `arbitration_id` carries no flag bits. `data[data_offset[i]:][:length[i]]`
    is the payload of frame i; `data` is padded so that 8 bytes can be read at every `data_offset[i]`.
    """

    t_ns: NDArray[np.int64]
    channel: NDArray[np.uint16]
    arbitration_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data_offset: NDArray[np.uint32]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.t_ns)
