"""VINs: the form is required, the check digit only remarked on."""

import pytest
from django.core.exceptions import ValidationError

from vehicles.vin import check_digit, validate_vin, vin_warning


@pytest.mark.parametrize("vin", ["1M8GDM9AXKP042788", "11111111111111111", "WVWZZZ1JZXW000001"])
def test_well_formed(vin):
    validate_vin(vin)


@pytest.mark.parametrize(
    "vin",
    [
        "",
        "1M8GDM9AXKP04278",
        "1M8GDM9AXKP0427888",
        "1M8GDM9AIKP042788",
        "1M8GDM9AOKP042788",
        "1M8GDM9AQKP042788",
        "1m8gdm9axkp042788",
        "1M8GDM9AXKP04278٣",
        "1M8GDM9AXKP042788\n",
    ],
)
def test_malformed(vin):
    with pytest.raises(ValidationError):
        validate_vin(vin)


def test_check_digit_of_the_standards_examples():
    assert check_digit("1M8GDM9AXKP042788") == "X"
    assert check_digit("11111111111111111") == "1"


def test_a_wrong_check_digit_is_a_warning():
    assert vin_warning("1M8GDM9AXKP042788") == ""
    assert "would be X" in vin_warning("1M8GDM9A1KP042788")
