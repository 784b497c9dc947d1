# The check that every loop over messages or texts begins with.

from libc.stdint cimport int64_t, uint8_t


cdef inline int check_spans(const uint8_t[::1] data, const int64_t[::1] offset, const int64_t[::1] length) except -1:
    """Raises ValueError when a message or text does not lie in the buffer."""
    cdef Py_ssize_t i
    cdef int64_t size = data.shape[0]
    if offset.shape[0] != length.shape[0]:
        raise ValueError("offsets and lengths differ in number")
    for i in range(offset.shape[0]):
        if offset[i] < 0 or length[i] < 0 or offset[i] > size or length[i] > size - offset[i]:
            raise ValueError(f"span {i} lies outside of its buffer")
    return 0
