"""A signal database becomes the platform's next version, or is refused with the reader's reason; which ones a batch is decoded with."""

import pytest

from tests import factories
from vehicles.models import SignalDatabase
from vehicles.signal_databases import BadSignalDatabase, Binding, add_signal_database, databases_for

pytestmark = pytest.mark.django_db
DBC = b'VERSION ""\nBS_:\nBU_: X\nBO_ 496 Example: 8 X\n SG_ Speed : 0|16@1+ (0.1,0) [0|250] "km/h" X\n'


def test_a_new_version_retires_the_old_one():
    platform = factories.platform()
    one = add_signal_database(platform, "powertrain", DBC, actor="user:ops")
    two = add_signal_database(platform, "powertrain", DBC.replace(b"Speed", b"Pace"), actor="user:ops")
    assert (one.version, two.version, two.message_count, two.signal_count) == (1, 2, 1, 1)
    assert databases_for(platform.pk, {}) == [two]


def test_different_names_stand_beside_each_other():
    platform = factories.platform()
    names = [add_signal_database(platform, name, DBC, actor="x").name for name in ("b", "a")]
    assert [database.name for database in databases_for(platform.pk, {})] == sorted(names)


@pytest.mark.parametrize(
    "content", [b"", b"%PDF-1.7 not a database", b"\x00" * 1000, DBC.partition(b"BO_ ")[0], b'VERSION "' + b"a" * 10_000 + b'"\n']
)
def test_what_is_no_dbc_is_refused_and_changes_nothing(content):
    platform = factories.platform()
    kept = add_signal_database(platform, "powertrain", DBC, actor="x")
    with pytest.raises(BadSignalDatabase):
        add_signal_database(platform, "powertrain", content, actor="x")
    assert databases_for(platform.pk, {}) == [kept]


def test_a_vehicle_without_platform_has_none():
    assert databases_for(None, {}) == []


KCD = b"""<?xml version="1.0" encoding="UTF-8"?>
<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0"><Document/><Bus name="Body">
<Message id="0x1F0" name="Example" length="8"><Signal name="Speed" offset="0" length="16">
<Value slope="0.1" unit="km/h"/></Signal></Message>
</Bus></NetworkDefinition>"""


def test_the_format_of_the_file_is_kept():
    platform = factories.platform()
    one = add_signal_database(platform, "a", DBC, actor="x")
    two = add_signal_database(platform, "b", KCD, actor="x")
    assert (one.kind, two.kind) == ("dbc", "kcd")
    assert list(SignalDatabase.objects.order_by("name").values_list("signature", flat=True)) == [[[496, False, 8, False]]] * 2


def test_a_batch_is_decoded_with_the_database_of_its_software():
    platform = factories.platform()
    general = add_signal_database(platform, "powertrain", DBC, actor="x")
    old = add_signal_database(platform, "powertrain", DBC, binding=Binding(software="vcu", software_before="2.0"), actor="x")
    new = add_signal_database(platform, "powertrain", DBC, binding=Binding(software="vcu", software_from="2.0"), actor="x")
    body = add_signal_database(platform, "body", DBC, actor="x")
    for software, expected in (
        ({}, general),
        ({"gateway": "1.0"}, general),
        ({"vcu": "1.9.12"}, old),
        ({"vcu": "v2.0-rc3"}, old),
        ({"vcu": "2.0"}, new),
        ({"vcu": "10.1", "gateway": "1"}, new),
        ({"vcu": 3}, new),
    ):
        assert databases_for(platform.pk, software) == [body, expected], software


def test_a_new_version_retires_only_the_one_of_its_own_software():
    platform = factories.platform()
    bound = Binding(software="vcu", software_from="2.0")
    general = add_signal_database(platform, "powertrain", DBC, actor="x")
    first = add_signal_database(platform, "powertrain", DBC, binding=bound, actor="x")
    second = add_signal_database(platform, "powertrain", DBC, binding=bound, actor="x")
    assert set(SignalDatabase.objects.filter(platform=platform, active=True)) == {general, second}
    assert [database.version for database in (general, first, second)] == [1, 2, 3]


@pytest.mark.parametrize(
    "binding",
    [Binding(software_from="1.0"), Binding(software_before="2"), Binding(software="vcu", software_from="2.0", software_before="2.0")],
)
def test_an_interval_that_no_software_is_in_is_refused(binding):
    platform = factories.platform()
    with pytest.raises(BadSignalDatabase):
        add_signal_database(platform, "powertrain", DBC, binding=binding, actor="x")
    assert databases_for(platform.pk, {}) == []
