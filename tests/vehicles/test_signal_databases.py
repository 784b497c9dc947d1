"""A DBC becomes the platform's next version, or is refused with the reader's reason."""

import pytest

from tests import factories
from vehicles.signal_databases import BadSignalDatabase, active_databases, add_signal_database

pytestmark = pytest.mark.django_db
DBC = b'VERSION ""\nBS_:\nBU_: X\nBO_ 496 Example: 8 X\n SG_ Speed : 0|16@1+ (0.1,0) [0|250] "km/h" X\n'


def test_a_new_version_retires_the_old_one():
    platform = factories.platform()
    one = add_signal_database(platform, "powertrain", DBC, actor="user:ops")
    two = add_signal_database(platform, "powertrain", DBC.replace(b"Speed", b"Pace"), actor="user:ops")
    assert (one.version, two.version, two.message_count, two.signal_count) == (1, 2, 1, 1)
    assert active_databases(platform.pk) == [two]


def test_different_names_stand_beside_each_other():
    platform = factories.platform()
    names = [add_signal_database(platform, name, DBC, actor="x").name for name in ("b", "a")]
    assert [database.name for database in active_databases(platform.pk)] == sorted(names)


@pytest.mark.parametrize(
    "content", [b"", b"%PDF-1.7 not a database", b"\x00" * 1000, DBC.partition(b"BO_ ")[0], b'VERSION "' + b"a" * 10_000 + b'"\n']
)
def test_what_is_no_dbc_is_refused_and_changes_nothing(content):
    platform = factories.platform()
    kept = add_signal_database(platform, "powertrain", DBC, actor="x")
    with pytest.raises(BadSignalDatabase):
        add_signal_database(platform, "powertrain", content, actor="x")
    assert active_databases(platform.pk) == [kept]


def test_a_vehicle_without_platform_has_none():
    assert active_databases(None) == []
