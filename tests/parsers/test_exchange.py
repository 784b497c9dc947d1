"""KCD, SYM and ARXML databases say the same as the DBC that they were made from; hostile XML is refused."""

from __future__ import annotations

from pathlib import Path

import cantools
import pytest

from parsers.can.database import Database
from parsers.errors import Corrupt, ParseError, Unsupported
from tests.parsers.blocks import CORPUS

DBC = """VERSION ""
BS_:
BU_: X
BO_ 256 Engine: 8 X
 SG_ Speed : 0|16@1+ (0.25,-10) [0|16000] "rpm" X
 SG_ Gear : 16|3@1+ (1,0) [0|7] "" X
 SG_ Torque : 31|16@0- (2,0) [0|0] "Nm" X
BO_ 2566844926 Extended: 8 X
 SG_ Level : 0|32@1+ (1,0) [0|0] "l" X
VAL_ 256 Gear 0 "Park" 1 "Drive" ;
"""
# Not those that strict readers refuse, and not nested multiplexers, which the writer of KCD repeats.
LOADABLE = sorted(
    path
    for pattern in ("cantools__*.dbc", "opendbc__*.dbc")
    for path in (CORPUS / "dbc").glob(pattern)
    if not any(
        word in path.name
        for word in ("toyota_2017", "fca_giorgio", "mazda_2017", "psa_aee", "tesla_can", "vw_", "bad_message", "cascaded", "multiplex_2")
    )
)


def arxml(prefix: str = "") -> str:
    """A system description of one frame: an 11-bit id, 8 bytes, a signal of 16 bits scaled by 0.5 and offset by -40."""
    short = "<SHORT-NAME>{}</SHORT-NAME>".format
    reference = '<{0}-REF DEST="{1}">/P/{2}</{0}-REF>'.format
    packages = f"""
<CAN-CLUSTER>{short("Bus")}<CAN-CLUSTER-VARIANTS><CAN-CLUSTER-CONDITIONAL><BAUDRATE>500000</BAUDRATE><PHYSICAL-CHANNELS>
<CAN-PHYSICAL-CHANNEL>{short("Channel")}<FRAME-TRIGGERINGS><CAN-FRAME-TRIGGERING>{short("Triggering")}
{reference("FRAME", "CAN-FRAME", "Frame")}<CAN-ADDRESSING-MODE>STANDARD</CAN-ADDRESSING-MODE><IDENTIFIER>291</IDENTIFIER>
</CAN-FRAME-TRIGGERING></FRAME-TRIGGERINGS></CAN-PHYSICAL-CHANNEL></PHYSICAL-CHANNELS></CAN-CLUSTER-CONDITIONAL></CAN-CLUSTER-VARIANTS>
</CAN-CLUSTER>
<CAN-FRAME>{short("Frame")}<FRAME-LENGTH>8</FRAME-LENGTH><PDU-TO-FRAME-MAPPINGS><PDU-TO-FRAME-MAPPING>{short("Mapping")}
<PACKING-BYTE-ORDER>MOST-SIGNIFICANT-BYTE-LAST</PACKING-BYTE-ORDER>{reference("PDU", "I-SIGNAL-I-PDU", "Pdu")}
<START-POSITION>0</START-POSITION></PDU-TO-FRAME-MAPPING></PDU-TO-FRAME-MAPPINGS></CAN-FRAME>
<I-SIGNAL-I-PDU>{short("Pdu")}<LENGTH>8</LENGTH><I-SIGNAL-TO-PDU-MAPPINGS><I-SIGNAL-TO-I-PDU-MAPPING>{short("SignalMapping")}
{reference("I-SIGNAL", "I-SIGNAL", "Temperature")}<PACKING-BYTE-ORDER>MOST-SIGNIFICANT-BYTE-LAST</PACKING-BYTE-ORDER>
<START-POSITION>16</START-POSITION></I-SIGNAL-TO-I-PDU-MAPPING></I-SIGNAL-TO-PDU-MAPPINGS></I-SIGNAL-I-PDU>
<I-SIGNAL>{short("Temperature")}<LENGTH>16</LENGTH><NETWORK-REPRESENTATION-PROPS><SW-DATA-DEF-PROPS-VARIANTS><SW-DATA-DEF-PROPS-CONDITIONAL>
{reference("BASE-TYPE", "SW-BASE-TYPE", "Unsigned")}{reference("COMPU-METHOD", "COMPU-METHOD", "Scaling")}
</SW-DATA-DEF-PROPS-CONDITIONAL></SW-DATA-DEF-PROPS-VARIANTS></NETWORK-REPRESENTATION-PROPS>
{reference("SYSTEM-SIGNAL", "SYSTEM-SIGNAL", "TemperatureSystem")}</I-SIGNAL>
<SYSTEM-SIGNAL>{short("TemperatureSystem")}<PHYSICAL-PROPS><SW-DATA-DEF-PROPS-VARIANTS><SW-DATA-DEF-PROPS-CONDITIONAL>
{reference("COMPU-METHOD", "COMPU-METHOD", "Scaling")}</SW-DATA-DEF-PROPS-CONDITIONAL></SW-DATA-DEF-PROPS-VARIANTS></PHYSICAL-PROPS>
</SYSTEM-SIGNAL>
<SW-BASE-TYPE>{short("Unsigned")}<BASE-TYPE-SIZE>16</BASE-TYPE-SIZE><BASE-TYPE-ENCODING>NONE</BASE-TYPE-ENCODING></SW-BASE-TYPE>
<COMPU-METHOD>{short("Scaling")}<CATEGORY>LINEAR</CATEGORY>{reference("UNIT", "UNIT", "Celsius")}
<COMPU-INTERNAL-TO-PHYS><COMPU-SCALES><COMPU-SCALE>
<COMPU-RATIONAL-COEFFS><COMPU-NUMERATOR><V>-40</V><V>0.5</V></COMPU-NUMERATOR><COMPU-DENOMINATOR><V>1</V></COMPU-DENOMINATOR>
</COMPU-RATIONAL-COEFFS></COMPU-SCALE></COMPU-SCALES></COMPU-INTERNAL-TO-PHYS></COMPU-METHOD>
<UNIT>{short("Celsius")}<DISPLAY-NAME>degC</DISPLAY-NAME></UNIT>"""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{prefix}<AUTOSAR xmlns="http://autosar.org/schema/r4.0" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://autosar.org/schema/r4.0 AUTOSAR_00048.xsd">'
        f"<AR-PACKAGES><AR-PACKAGE>{short('P')}<ELEMENTS>{packages}</ELEMENTS></AR-PACKAGE></AR-PACKAGES></AUTOSAR>"
    )


def facts(database: Database) -> set[tuple[object, ...]]:
    """What decoding depends on; a signal without unit is spelled in several ways."""
    return {
        (m.arbitration_id, m.extended, s.name, s.first_bit, s.length, s.big_endian, s.signed, s.is_float, s.scale, s.offset,
         s.unit.strip("-"), tuple(sorted((s.choices or {}).items())), s.multiplexer is None)
        for m in database.messages
        for s in m.signals
    }  # fmt: skip


@pytest.mark.parametrize("form", ["kcd", "sym"])
def test_other_formats_say_what_the_dbc_says(form: str) -> None:
    made = getattr(cantools.database.load_string(DBC, "dbc"), f"as_{form}_string")()
    database = Database.load(made.encode(), f"made.{form}")
    assert database.kind == form
    assert facts(database) == facts(Database.load(DBC.encode(), "made.dbc"))
    assert Database.from_json(database.to_json()) == database


@pytest.mark.skipif(not LOADABLE, reason=f"no corpus of real databases at {CORPUS}; set ARGUS_CORPUS to its folder")
@pytest.mark.parametrize("path", LOADABLE, ids=lambda path: path.name)
def test_real_databases_survive_the_way_through_kcd(path: Path) -> None:
    original = cantools.database.load_file(path, strict=False, encoding="cp1252")
    database = Database.load(original.as_kcd_string().encode(), path.name)
    before = Database.load(path.read_bytes(), path.name)
    assert {(m.arbitration_id, m.extended) for m in database.messages} == {(m.arbitration_id, m.extended) for m in before.messages}
    assert len(facts(database)) == len(facts(before))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_arxml_is_read(encoding: str) -> None:
    database = Database.load(arxml().encode(encoding), "system.arxml")
    ((message,), (signal,)) = database.messages, database.messages[0].signals
    assert (database.kind, message.name, message.arbitration_id, message.extended, message.length) == ("arxml", "Frame", 291, False, 8)
    assert (signal.name, signal.first_bit, signal.length, signal.big_endian) == ("Temperature", 16, 16, False)
    assert (signal.scale, signal.offset, signal.unit) == (0.5, -40, "degC")


def test_entities_are_refused() -> None:
    bomb = '<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    with pytest.raises(Unsupported, match="document type"):
        Database.load(arxml(bomb).encode(), "bomb.arxml")


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"<?xml version='1.0'?><html></html>", Unsupported, "begins with <html>"),
        (arxml().encode()[:-100], Corrupt, "not a readable ARXML file"),
        (b'<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0"><Bus>', Corrupt, "not a readable KCD file"),
        (b"FormatVersion=6.0\n{SENDRECEIVE}\n[A]\nID=", Corrupt, "not a readable SYM file"),
        (b"FormatVersion=99\n", Corrupt, "not a readable SYM file"),
        ("<AUTOSAR ".encode("utf-16")[:-1], Unsupported, "begins with <[?]>"),
        (b"<", Unsupported, "begins with <[?]>"),
    ],
)
def test_what_is_no_database_is_refused_by_its_kind(data: bytes, error: type[ParseError], says: str) -> None:
    with pytest.raises(error, match=says):
        Database.load(data, "x")
