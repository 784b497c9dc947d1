"""rosbags: write the bags of the benchmark, iterate their raw messages, deserialise each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag1 import Reader, Writer
from rosbags.typesys import Stores, get_typestore

TOPICS_OF_A_TYPE = 4
STEP_NS = 50_000

Measurement = dict[str, float]

store = get_typestore(Stores.ROS1_NOETIC)
types: Any = store.types


def write(path: str, messages: str, compression: str) -> Measurement:
    """IMU, twist, joint state, point and float messages on 20 topics in turn, serialised by rosbags into chunks of 1 MiB."""
    whole = Path(path)
    part = whole.with_suffix(".part.bag")
    part.unlink(missing_ok=True)
    started = time.process_time()
    writer = Writer(part)
    if compression != "none":
        writer.set_compression(Writer.CompressionFormat[compression.upper()])
    with writer:
        connections = [
            writer.add_connection(f"/{kind.rpartition('/')[2].lower()}_{number}", kind, typestore=store)
            for kind in KINDS
            for number in range(TOPICS_OF_A_TYPE)
        ]
        t_ns = 1_700_000_000_000_000_000
        for index, message in enumerate(_messages(int(messages))):
            connection = connections[index % len(connections)]
            t_ns += STEP_NS
            writer.write(connection, t_ns, store.serialize_ros1(message, connection.msgtype))
    part.rename(whole)
    return {"cpu_seconds": time.process_time() - started, "items": int(messages)}


def _messages(count: int) -> Iterator[Any]:
    rng = np.random.default_rng(2)
    makers = [maker for maker in KINDS.values() for _ in range(TOPICS_OF_A_TYPE)]
    for index in range(count):
        t_ns = 1_700_000_000_000_000_000 + index * STEP_NS
        stamp = types["builtin_interfaces/msg/Time"](t_ns // 10**9, t_ns % 10**9)
        header = types["std_msgs/msg/Header"](index, stamp, "base_link")
        yield makers[index % len(makers)](header, rng.standard_normal(12))


def _vector(values: Any) -> Any:
    return types["geometry_msgs/msg/Vector3"](*values)


def _imu(header: Any, v: Any) -> Any:
    turn = types["geometry_msgs/msg/Quaternion"](*v[:4])
    return types["sensor_msgs/msg/Imu"](header, turn, np.zeros(9), _vector(v[4:7]), np.zeros(9), _vector(v[7:10]), np.zeros(9))


KINDS: dict[str, Any] = {
    "sensor_msgs/msg/Imu": _imu,
    "geometry_msgs/msg/Twist": lambda _, v: types["geometry_msgs/msg/Twist"](_vector(v[:3]), _vector(v[3:6])),
    "sensor_msgs/msg/JointState": lambda header, v: types["sensor_msgs/msg/JointState"](
        header, ["front_left", "front_right", "rear_left", "rear_right"], v[:4], v[4:8], v[8:12]
    ),
    "geometry_msgs/msg/PointStamped": lambda header, v: types["geometry_msgs/msg/PointStamped"](
        header, types["geometry_msgs/msg/Point"](*v[:3])
    ),
    "std_msgs/msg/Float64": lambda _, v: types["std_msgs/msg/Float64"](v[0]),
}


def iterate(bag: str, **_: str) -> Measurement:
    """Every raw message made, none kept."""
    messages = 0
    started = time.process_time()
    with Reader(Path(bag)) as reader:
        for _message in reader.messages():
            messages += 1
    return {"cpu_seconds": time.process_time() - started, "items": messages}


def decode(bag: str, **_: str) -> Measurement:
    """Every message deserialised into its object, none kept."""
    messages = 0
    started = time.process_time()
    with Reader(Path(bag)) as reader:
        for connection, _t_ns, raw in reader.messages():
            store.deserialize_ros1(raw, connection.msgtype)
            messages += 1
    return {"cpu_seconds": time.process_time() - started, "items": messages}
