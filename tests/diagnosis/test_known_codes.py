"""What an operator knows of fault codes is imported whole or not at all, and found for the codes of a batch."""

from __future__ import annotations

import pytest

from diagnosis.known_codes import BadCodeTable, facts_of, import_codes, tidy
from diagnosis.models import KnownCode
from events.models import Event, EventType
from tests import factories
from tests.admin.pages import logged_in, read

TABLE = b"code,text,severity,action\nP1234,tank heater relay,error,Plug it in.\nSPN 110,Engine coolant temperature,,\n"


def known() -> dict[str, tuple[str, str, str]]:
    return {row.code: (row.text, row.severity, row.action) for row in KnownCode.objects.all()}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("p1234", "P1234"), (" P0a0f ", "P0A0F"), ("u0100-87", "U0100-87"), ("110", "SPN 110"), ("spn 0110", "SPN 110"),
        ("SPN  110  fmi 00", "SPN 110 FMI 0"),
    ],
)  # fmt: skip
def test_codes_are_written_in_one_way(given: str, code: str) -> None:
    assert tidy(given) == code


@pytest.mark.parametrize("code", ["", "P12", "P12345", "X1234", "P4234", "SPN", "SPN 1234567", "SPN 1 FMI 100", "P1234-1", "=1+1"])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(BadCodeTable):
        tidy(code)


@pytest.mark.django_db
class TestImport:
    def test_a_table_is_taken(self) -> None:
        done = import_codes(TABLE, None, actor="user:ops")
        assert (done.added, done.changed) == (2, 0)
        assert known() == {"P1234": ("tank heater relay", "error", "Plug it in."), "SPN 110": ("Engine coolant temperature", "", "")}
        assert Event.objects.get(type=EventType.CODES_IMPORTED).payload == {"added": 2, "changed": 0, "platform": None}

    def test_a_second_table_overwrites_and_adds(self) -> None:
        import_codes(TABLE, None, actor="x")
        done = import_codes(b"code;text\n1234;x\nP1234;relay\n", None, actor="x")
        assert (done.added, done.changed) == (1, 1)
        assert known()["P1234"] == ("relay", "", "")

    def test_quotes_and_apostrophes_are_part_of_the_text(self) -> None:
        table = b"""code,text\nP1234,"driver's ""big"" relay; 'left', 'right'"\nP1235,'a','b'\nP1236,it's off\n"""
        import_codes(table, None, actor="x")
        assert {code: text for code, (text, *_) in known().items()} == {
            "P1234": "driver's \"big\" relay; 'left', 'right'",
            "P1235": "'a'",
            "P1236": "it's off",
        }

    @pytest.mark.parametrize(
        "table",
        [
            "\ufeffCode\tText\np1234\tgrün\n".encode(), "Text;Code\ngrün;P1234\n".encode("cp1252"),
            "code,text\r\nP1234,grün\r\n\r\n,\r\n".encode(),
            "code,text\nP1234,  grün  \nP1234,grün".encode(),
        ],
    )  # fmt: skip
    def test_delimiter_encoding_and_order_of_columns_do_not_matter(self, table: bytes) -> None:
        import_codes(table, None, actor="x")
        assert known() == {"P1234": ("grün", "", "")}

    @pytest.mark.parametrize(
        ("table", "says"),
        [
            (b"", "first line"),
            (b"code,text\n", "no row"),
            (b"name,meaning\nP1234,x\n", "first line"),
            (b"code,text\nP0001,ok\nP12,bad\n", "Line 3: 'P12' is no fault code"),
            (b"code,text\nP1234,\n", "Line 2: P1234 has no text"),
            (b"code,text,severity\nP1234,x,loud\n", "Line 2: severity 'loud'"),
            (b'code,text\nP1234,"' + b"a" * 200_000, "field larger"),
            (b"code,text\nP1234,a\0b\n", "NUL"),
            (b'"code,text' + b"a" * 200_000, "Line 1: field larger"),
        ],
    )
    def test_a_table_with_anything_wrong_changes_nothing(self, table: bytes, says: str) -> None:
        import_codes(TABLE, None, actor="x")
        before = known()
        with pytest.raises(BadCodeTable, match=says):
            import_codes(table, None, actor="x")
        assert known() == before

    def test_what_is_known_for_a_platform_wins_there(self) -> None:
        platform = factories.platform()
        import_codes(TABLE, None, actor="x")
        import_codes(b"code,text\nP1234,of the van\n", platform.pk, actor="x")
        asked = ["P1234-12", "SPN 110 FMI 3", "P0301"]
        assert {code: fact.text for code, fact in facts_of(asked, platform.pk).items()} == {
            "P1234": "of the van",
            "SPN 110": "Engine coolant temperature",
        }
        assert facts_of(asked, None)["P1234"].text == "tank heater relay"
        assert facts_of([], platform.pk) == {}


@pytest.mark.django_db
class TestPages:
    def test_ops_import_a_table_and_see_it(self, tmp_path) -> None:
        ops = logged_in(factories.user("otto", "ops"))
        (tmp_path / "codes.csv").write_bytes(TABLE)
        with (tmp_path / "codes.csv").open("rb") as file:
            response = ops.post("/admin/diagnosis/knowncode/import/", {"file": file, "platform": ""}, follow=True)
        words = read(response).words
        assert "2 codes are new" in words
        assert "tank heater relay" in words

    def test_a_bad_table_is_told_on_the_form(self, tmp_path) -> None:
        ops = logged_in(factories.user("otto", "ops"))
        (tmp_path / "codes.csv").write_bytes(b"code,text\nP12,bad\n")
        with (tmp_path / "codes.csv").open("rb") as file:
            response = ops.post("/admin/diagnosis/knowncode/import/", {"file": file})
        assert "Line 2" in read(response).words
        assert not KnownCode.objects.exists()

    def test_support_sees_codes_and_cannot_import(self) -> None:
        support = logged_in(factories.user("susan", "support"))
        import_codes(TABLE, None, actor="x")
        page = read(support.get("/admin/diagnosis/knowncode/"))
        assert "Engine coolant temperature" in page.words
        assert not [link for link in page.links if "import" in link]
        assert support.get("/admin/diagnosis/knowncode/import/").status_code == 403

    def test_a_code_typed_by_hand_is_tidied(self) -> None:
        ops = logged_in(factories.user("otto", "ops"))
        ops.post("/admin/diagnosis/knowncode/add/", {"platform": "", "code": "spn 0110", "text": "coolant", "severity": "", "action": ""})
        assert known() == {"SPN 110": ("coolant", "", "")}
