"""The frames of a drive decode to its series, and each fault can be seen in them."""

from __future__ import annotations

import numpy as np
import pytest

from demo import faultcodes, faults, fleet
from demo.drive import Drive, simulate
from demo.faults import Code, Faults, Trouble
from demo.frames import ERROR, EXTENDED, SENT, Frames, database, record, stamps_us

SECONDS = 120.0


@pytest.fixture(scope="module")
def drive() -> Drive:
    return simulate(SECONDS, 3, faults.HEALTHY)


@pytest.fixture(scope="module")
def recorded(drive: Drive) -> Frames:
    return record(drive, faults.HEALTHY, 3)


def of(frames: Frames, arbitration_id: int) -> Frames:
    return frames.take(frames.arbitration_id == arbitration_id)


def reassembled(frames: Frames) -> list[bytes]:
    """ISO-TP messages of one sender, by hand: single frames, and first frames with all their consecutive frames."""
    messages: list[bytes] = []
    wanted = 0
    for data in frames.data:
        payload = data.tobytes()
        if payload[0] >> 4 == 0:
            messages.append(payload[1 : 1 + payload[0]])
        elif payload[0] >> 4 == 1:
            wanted = int.from_bytes(payload[:2], "big") & 0xFFF
            messages.append(payload[2:])
        else:
            messages[-1] = (messages[-1] + payload[1:])[:wanted]
    return messages


def test_every_frame_decodes_to_the_value_of_the_drive_at_its_time(drive: Drive, recorded: Frames) -> None:
    compared = set()
    for message in database().messages:
        frames = of(recorded, message.frame_id)
        for row in range(0, len(frames), max(1, len(frames) // 150)):
            decoded = message.decode(frames.data[row, : frames.length[row]].tobytes(), decode_choices=False)
            for name, value in decoded.items():
                signal = message.get_signal_by_name(name)
                if signal.is_multiplexer or name.endswith("Counter"):
                    continue
                expected = float(drive.at(name, np.array([frames.time_us[row] / 1e6]))[0])
                assert abs(float(value) - expected) <= 0.5001 * float(signal.scale) + 1e-9, (name, value, expected)
                compared.add(name)
    assert len(compared) == sum(
        not signal.is_multiplexer and not signal.name.endswith("Counter") for message in database().messages for signal in message.signals
    )


def test_every_message_comes_at_its_cycle_time(recorded: Frames) -> None:
    for message in database().messages:
        times = of(recorded, message.frame_id).time_us
        assert abs(np.median(np.diff(times)) / 1000.0 - message.cycle_time) < 0.2, message.name
    assert recorded.time_us[0] == 0
    assert (np.diff(recorded.time_us) >= 0).all()


def test_a_twenty_minute_drive_has_half_a_million_frames(recorded: Frames) -> None:
    assert 300_000 < len(recorded) * 1200 / SECONDS < 600_000


def test_the_same_seed_gives_the_same_frames(drive: Drive, recorded: Frames) -> None:
    again = record(drive, faults.HEALTHY, 3)
    assert np.array_equal(again.time_us, recorded.time_us)
    assert np.array_equal(again.data, recorded.data)


def test_diagnostic_ids_are_heard_but_not_declared(recorded: Frames) -> None:
    declared = {message.frame_id for message in database().messages}
    heard = set(recorded.arbitration_id.tolist())
    assert heard - declared == {faultcodes.OBD_REQUEST, faultcodes.OBD_ANSWER, faultcodes.DM1}
    assert declared <= heard
    assert set(of(recorded, faultcodes.DM1).flags.tolist()) == {EXTENDED}
    assert set(of(recorded, faultcodes.OBD_REQUEST).flags.tolist()) == {SENT}


def test_a_healthy_car_answers_with_no_codes(recorded: Frames) -> None:
    answers = reassembled(of(recorded, faultcodes.OBD_ANSWER))
    assert {answer.hex() for answer in answers} == {"4300", "4700", "4a00"}
    assert {data.tobytes().hex() for data in of(recorded, faultcodes.DM1).data} == {"00ff00000000ffff"}


def test_the_wheel_speed_is_missing_in_its_gaps_and_then_stuck() -> None:
    gaps = ((30.0, 2.4), (44.0, 4.0))
    drive = simulate(SECONDS, 3, faults.HEALTHY)
    stuck_s = float(drive.time_s[1000 + np.argmax(drive.series["VehicleSpeed"][1000:1500])])
    broken = Faults(wheel_gaps=gaps, wheel_stuck=(stuck_s, 40.0))
    frames = record(drive, broken, 3)
    left, right = of(frames, 0x140), of(frames, 0x141)
    intervals = np.diff(left.time_us) / 1e6
    assert np.round(intervals[intervals > 1.0]).tolist() == [2.0, 4.0]
    assert np.diff(right.time_us).max() < 100_000
    inside = (left.time_us >= stuck_s * 1e6) & (left.time_us < (stuck_s + 40) * 1e6)
    assert len(np.unique(left.data[inside], axis=0)) == 1
    assert left.data[inside][0, :2].any()
    other = (right.time_us >= stuck_s * 1e6) & (right.time_us < (stuck_s + 40) * 1e6)
    assert len(np.unique(right.data[other], axis=0)) > 100
    assert (frames.flags == ERROR).sum() == 6


def test_the_stuck_wheel_of_the_fleet_stands_at_a_speed_while_the_car_does_not() -> None:
    [batch] = [batch for vehicle in fleet.VEHICLES for batch in vehicle.batches if batch.key == "wheel-speed-dropout"]
    assert batch.faults.wheel_stuck is not None
    start, length = batch.faults.wheel_stuck
    drive = simulate(batch.duration_s, batch.seed, batch.faults)
    during = (drive.time_s >= start) & (drive.time_s < start + length)
    assert drive.at("WheelSpeedFL", np.array([start]))[0] > 10.0
    assert np.ptp(drive.series["VehicleSpeed"][during]) > 10.0
    for gap, seconds in batch.faults.wheel_gaps:
        assert 2.0 <= seconds <= 6.0
        assert gap + seconds < batch.duration_s
        assert drive.at("VehicleSpeed", np.array([gap]))[0] > 5.0


def test_trouble_codes_come_in_one_frame_and_in_several() -> None:
    broken = Faults(codes=(Code(0.0, "P0301"), Code(40.0, "U0121"), Code(40.0, "C0035"), Code(0.0, "P0171", "pending")))
    frames = record(simulate(SECONDS, 3, broken), broken, 3)
    answers = [answer.hex() for answer in reassembled(of(frames, faultcodes.OBD_ANSWER))]
    assert "43010301" in answers
    assert "43030301c1214035" in answers
    assert "47010171" in answers
    first_frames = [data for data in of(frames, faultcodes.OBD_ANSWER).data if data[0] == 0x10]
    assert len(first_frames) == len(of(frames, faultcodes.OBD_FLOW_CONTROL)) == 2


@pytest.mark.parametrize("name", ["P030", "X0301", "P4301", "P030G"])
def test_a_malformed_trouble_code_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        faultcodes.code_bytes(name)


def test_dm1_comes_as_itself_for_one_code_and_by_broadcast_for_two() -> None:
    broken = Faults(troubles=(Trouble(10.0, 110, 0, 3, "red"), Trouble(60.0, 520_192, 31, 1, "amber")))
    frames = record(simulate(SECONDS, 3, broken), broken, 3)
    single = {data.tobytes().hex() for data in of(frames, faultcodes.DM1).data}
    assert single == {"00ff00000000ffff", "10ff6e000003ffff"}
    announced = {data.tobytes().hex() for data in of(frames, faultcodes.TRANSPORT_CONTROL).data}
    assert announced == {"200a0002ffcafe00"}
    packets = of(frames, faultcodes.TRANSPORT_DATA)
    assert packets.data[:2, 0].tolist() == [1, 2]
    message = (packets.data[0, 1:].tobytes() + packets.data[1, 1:].tobytes())[:10]
    assert message.hex() == "14ff6e00000300f0ff01"
    assert int.from_bytes(message[6:8], "little") | message[8] >> 5 << 16 == 520_192


def test_the_clock_counts_from_nineteen_seventy_or_jumps(recorded: Frames) -> None:
    start = 1_750_000_000_000_000
    assert stamps_us(recorded, start, faults.HEALTHY)[0] == start
    assert stamps_us(recorded, start, faults.CLOCK_1970)[0] == 0
    jumping = Faults(clock_steps=((30.0, 7200.0), (60.0, -37.0)))
    steps = np.diff(stamps_us(recorded, start, jumping))
    assert np.flatnonzero(steps > 3_600_000_000).size == 1
    assert np.flatnonzero(steps < -1_000_000).size == 1
