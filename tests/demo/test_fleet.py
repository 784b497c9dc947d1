"""The demo fleet is one that every part of Argus can accept."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from demo.fleet import VEHICLES, check_digit


@pytest.mark.parametrize(("vin", "digit"), [("1M8GDM9AXKP042788", "X"), ("11111111111111111", "1"), ("5GZCZ43D13S812715", "1")])
def test_check_digits_of_known_numbers(vin: str, digit: str) -> None:
    assert check_digit(vin) == digit


@pytest.mark.parametrize("vin", ["1M8GDM9AXKP04278", "1M8GDM9AXKP04278O", "1m8gdm9axkp042788"])
def test_what_is_no_vin_is_refused(vin: str) -> None:
    with pytest.raises(ValueError):
        check_digit(vin)


def test_every_vehicle_has_a_valid_number_of_its_own() -> None:
    vins = [vehicle.vin for vehicle in VEHICLES]
    assert 5 <= len(set(vins)) == len(vins)
    assert all(vin[8] == check_digit(vin) for vin in vins)
    assert len({vehicle.vehicle_id for vehicle in VEHICLES}) == len({vehicle.name for vehicle in VEHICLES}) == len(vins)


def test_every_drive_lies_in_the_past_and_comes_oldest_first() -> None:
    today = date(2026, 3, 2)
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    for vehicle in VEHICLES:
        starts = [batch.start(today) for batch in vehicle.batches]
        assert starts == sorted(starts)
        assert all(start + timedelta(seconds=batch.duration_s) < midnight for start, batch in zip(starts, vehicle.batches, strict=True))
        assert len({batch.key for batch in vehicle.batches}) == len(vehicle.batches)


def test_drives_have_seeds_of_their_own() -> None:
    seeds = [batch.seed for vehicle in VEHICLES for batch in vehicle.batches]
    assert len(set(seeds)) == len(seeds)


def test_one_vehicle_uses_the_old_way_of_uploading() -> None:
    assert sum(vehicle.multipart for vehicle in VEHICLES) == 1
