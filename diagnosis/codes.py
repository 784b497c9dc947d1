"""What fault codes mean, in our own short words: OBD-II and UDS (structure of SAE J2012), failure modes of J1939 (SAE J1939-73).

Standard codes (P0, P2, P34-P39, C0, B0, U0) get a text where we have one; all get the words of their structure. Codes of makers mean
something else in each make, suspect parameter numbers are listed by SAE: of both only the structure is told.
"""

from __future__ import annotations

from dataclasses import dataclass

from diagnosis.findings import CRITICAL, ERROR, WARNING

SYSTEMS = {"P": "powertrain", "C": "chassis", "B": "body", "U": "network"}

POWERTRAIN_AREAS = {
    "0": "fuel, air and auxiliary emission control",
    "1": "fuel and air metering",
    "2": "fuel and air metering, injectors",
    "3": "ignition or misfire",
    "4": "auxiliary emission control",
    "5": "speed, idle and auxiliary inputs",
    "6": "control unit and its outputs",
    "7": "transmission",
    "8": "transmission",
    "9": "transmission",
    "A": "hybrid or electric drive",
    "B": "hybrid or electric drive",
    "C": "hybrid or electric drive",
}


def _cylinders(first: int, text: str, last: int = 12) -> dict[str, str]:
    return {f"P{first + number:04d}": text.format(number) for number in range(1, last + 1)}


TEXTS: dict[str, str] = {
    "P0010": "camshaft adjuster, intake, bank 1: circuit",
    "P0011": "camshaft timing too far advanced, intake, bank 1",
    "P0016": "crankshaft and camshaft do not agree, bank 1",
    "P0030": "heater of oxygen sensor 1, bank 1: circuit",
    "P0087": "fuel rail pressure too low",
    "P0088": "fuel rail pressure too high",
    "P0100": "air flow meter: circuit",
    "P0101": "air flow meter: implausible signal",
    "P0102": "air flow meter: signal too low",
    "P0103": "air flow meter: signal too high",
    "P0106": "intake manifold pressure: implausible signal",
    "P0107": "intake manifold pressure: signal too low",
    "P0108": "intake manifold pressure: signal too high",
    "P0110": "intake air temperature sensor: circuit",
    "P0112": "intake air temperature: signal too low",
    "P0113": "intake air temperature: signal too high",
    "P0115": "coolant temperature sensor: circuit",
    "P0116": "coolant temperature: implausible signal",
    "P0117": "coolant temperature: signal too low",
    "P0118": "coolant temperature: signal too high",
    "P0120": "throttle or pedal position sensor A: circuit",
    "P0121": "throttle or pedal position sensor A: implausible signal",
    "P0125": "coolant does not get warm enough for closed-loop control",
    "P0128": "coolant stays below the thermostat's temperature",
    "P0130": "oxygen sensor 1, bank 1: circuit",
    "P0133": "oxygen sensor 1, bank 1: responds slowly",
    "P0135": "oxygen sensor 1, bank 1: heater",
    "P0141": "oxygen sensor 2, bank 1: heater",
    "P0171": "mixture too lean, bank 1",
    "P0172": "mixture too rich, bank 1",
    "P0174": "mixture too lean, bank 2",
    "P0175": "mixture too rich, bank 2",
    "P0180": "fuel temperature sensor A: circuit",
    "P0190": "fuel rail pressure sensor: circuit",
    **_cylinders(200, "injector of cylinder {}: circuit"),
    "P0217": "engine coolant too hot",
    "P0218": "transmission fluid too hot",
    "P0219": "engine speed too high",
    "P0220": "throttle or pedal position sensor B: circuit",
    "P0230": "fuel pump: primary circuit",
    "P0234": "charging pressure too high",
    "P0299": "charging pressure too low",
    "P0300": "misfires in several or changing cylinders",
    **_cylinders(300, "misfires in cylinder {}"),
    "P0325": "knock sensor 1: circuit",
    "P0335": "crankshaft position sensor A: circuit",
    "P0336": "crankshaft position sensor A: implausible signal",
    "P0340": "camshaft position sensor A, bank 1: circuit",
    "P0341": "camshaft position sensor A, bank 1: implausible signal",
    **{f"P{350 + number:04d}": f"ignition coil {letter}: circuit" for number, letter in enumerate("ABCDEFGHIJKL", 1)},
    "P0380": "glow plugs: circuit",
    "P0400": "exhaust gas recirculation: flow",
    "P0401": "exhaust gas recirculation: too little flow",
    "P0402": "exhaust gas recirculation: too much flow",
    "P0420": "catalytic converter works too little, bank 1",
    "P0430": "catalytic converter works too little, bank 2",
    "P0440": "fuel vapour system: malfunction",
    "P0442": "fuel vapour system: small leak",
    "P0455": "fuel vapour system: large leak",
    "P0456": "fuel vapour system: very small leak",
    "P0480": "cooling fan 1: control circuit",
    "P0481": "cooling fan 2: control circuit",
    "P0500": "vehicle speed sensor A",
    "P0501": "vehicle speed sensor A: implausible signal",
    "P0505": "idle control",
    "P0506": "idle speed too low",
    "P0507": "idle speed too high",
    "P0520": "oil pressure sensor: circuit",
    "P0521": "oil pressure: implausible signal",
    "P0522": "oil pressure: signal too low",
    "P0523": "oil pressure: signal too high",
    "P0524": "oil pressure too low",
    "P0560": "supply voltage",
    "P0562": "supply voltage too low",
    "P0563": "supply voltage too high",
    "P0571": "brake switch A: circuit",
    "P0600": "serial communication inside of the control unit",
    "P0601": "control unit: memory check sum",
    "P0602": "control unit: not programmed",
    "P0603": "control unit: kept memory",
    "P0604": "control unit: working memory",
    "P0605": "control unit: program memory",
    "P0606": "control unit: processor",
    "P0607": "control unit: performance",
    "P0615": "starter relay: circuit",
    "P0620": "generator: control circuit",
    "P0627": "fuel pump A: control circuit open",
    "P0700": "transmission control asks for the warning lamp",
    "P0705": "gear selector sensor: circuit",
    "P0710": "transmission fluid temperature sensor: circuit",
    "P0715": "transmission input speed sensor: circuit",
    "P0720": "transmission output speed sensor: circuit",
    "P0730": "wrong gear ratio",
    "P0740": "torque converter clutch: circuit open",
    "P0750": "shift solenoid A",
    "P0755": "shift solenoid B",
    "P0A0F": "engine did not start (hybrid)",
    "P0A1F": "battery energy control unit",
    "P0A2F": "drive motor A too hot",
    "P0A3F": "drive motor A: position sensor",
    "P0A78": "drive motor A: inverter",
    "P0A7F": "hybrid battery worn",
    "P0A80": "hybrid battery to be replaced",
    "P0A94": "DC/DC converter",
    "P0AA6": "high voltage: insulation",
    "P0AC4": "hybrid control asks for the warning lamp",
    "P2002": "particle filter works too little, bank 1",
    "P2096": "mixture after the catalytic converter too lean, bank 1",
    "P2101": "throttle actuator: range or performance",
    "P2122": "pedal position sensor D: signal too low",
    "P2135": "throttle or pedal sensors A and B disagree",
    "P2138": "pedal sensors D and E disagree",
    "P2195": "oxygen sensor 1, bank 1: stays lean",
    "P2263": "turbocharger: performance",
    "P2463": "particle filter: too much soot",
    "C0035": "wheel speed sensor, front left",
    "C0040": "wheel speed sensor, front right",
    "C0045": "wheel speed sensor, rear left",
    "C0050": "wheel speed sensor, rear right",
    "C0051": "steering angle sensor",
    "C0061": "lateral acceleration sensor",
    "C0063": "yaw rate sensor",
    "C0110": "brake pump motor: circuit",
    "C0121": "brake valve relay: circuit",
    "C0131": "brake pressure sensor",
    "C0200": "wheel speed sensor, rear",
    "B0001": "airbag of the driver, stage 1",
    "B0010": "airbag of the passenger, stage 1",
    "B0020": "side airbag, left",
    "B0028": "side airbag, right",
    "B0100": "crash sensor 1",
    "U0001": "fast CAN bus",
    "U0002": "fast CAN bus: performance",
    "U0010": "medium-speed CAN bus",
    "U0020": "slow CAN bus",
    "U0073": "control unit switched itself off the bus",
    "U0100": "no messages from the engine control unit",
    "U0101": "no messages from the transmission control unit",
    "U0103": "no messages from the gear selector",
    "U0110": "no messages from the drive motor control unit",
    "U0111": "no messages from the battery energy control unit",
    "U0121": "no messages from the brake control unit (ABS)",
    "U0122": "no messages from the stability control unit",
    "U0126": "no messages from the steering angle sensor",
    "U0129": "no messages from the brake system control unit",
    "U0131": "no messages from the power steering",
    "U0140": "no messages from the body control unit",
    "U0146": "no messages from the gateway A",
    "U0151": "no messages from the restraint control unit",
    "U0155": "no messages from the instrument cluster",
    "U0164": "no messages from the climate control unit",
    "U0235": "no messages from the distance sensor, front",
    "U0293": "no messages from the hybrid control unit",
    "U0401": "implausible data from the engine control unit",
    "U0402": "implausible data from the transmission control unit",
    "U0415": "implausible data from the brake control unit (ABS)",
    "U0428": "implausible data from the steering angle sensor",
}

SEVERE: dict[str, str] = {
    **dict.fromkeys(("P0217", "P0524", "P0AA6"), CRITICAL),
    **dict.fromkeys(
        ("P0087", "P0218", "P0219", "P0335", "P0336", "P0340", "P0562", "P0563", "P0700", "P2135", "P2138", "P2101", "P2463", "P0A1F"),
        ERROR,
    ),
    **{f"P{number:04d}": ERROR for number in (*range(300, 313), *range(520, 524), *range(600, 608))},
    **dict.fromkeys(("P0A0F", "P0A2F", "P0A78", "P0A94"), ERROR),
    **dict.fromkeys(("C0035", "C0040", "C0045", "C0050", "C0051", "C0110", "C0121", "C0131", "C0200"), ERROR),
    **dict.fromkeys(("U0001", "U0073", "U0100", "U0110", "U0111", "U0121", "U0122", "U0129", "U0131"), ERROR),
    **dict.fromkeys(("B0001", "B0010", "B0020", "B0028", "B0100", "U0151"), ERROR),
}

# Failure type byte of a UDS code (its last two digits).
FAILURE_TYPES: dict[str, str] = {
    "01": "electrical failure",
    "02": "signal failure",
    "04": "internal failure",
    "05": "programming failure",
    "07": "mechanical failure",
    "08": "bus message failure",
    "09": "component failure",
    "11": "short to ground",
    "12": "short to battery",
    "13": "open circuit",
    "14": "short to ground or open",
    "15": "short to battery or open",
    "16": "voltage too low",
    "17": "voltage too high",
    "18": "current too low",
    "19": "current too high",
    "1A": "resistance too low",
    "1B": "resistance too high",
    "1C": "voltage out of range",
    "1D": "current out of range",
    "1E": "resistance out of range",
    "1F": "intermittent contact",
    "21": "signal amplitude too low",
    "22": "signal amplitude too high",
    "23": "signal stays low",
    "24": "signal stays high",
    "29": "signal invalid",
    "2A": "signal stuck in range",
    "2F": "signal erratic",
    "31": "no signal",
    "36": "signal frequency too low",
    "37": "signal frequency too high",
    "38": "signal frequency wrong",
    "41": "check sum wrong",
    "42": "memory failure",
    "44": "data memory failure",
    "45": "program memory failure",
    "46": "calibration memory failure",
    "47": "watchdog",
    "48": "supervision software",
    "49": "internal electronics",
    "4A": "wrong component installed",
    "4B": "too hot",
    "51": "not programmed",
    "52": "not activated",
    "53": "deactivated",
    "54": "not calibrated",
    "55": "not configured",
    "61": "signal calculation failed",
    "62": "signals disagree",
    "63": "protection timed out",
    "64": "implausible signal",
    "67": "signal wrong after event",
    "71": "actuator stuck",
    "72": "actuator stuck open",
    "73": "actuator stuck closed",
    "74": "actuator slips",
    "76": "wrong mounting position",
    "77": "commanded position not reached",
    "81": "invalid serial data received",
    "82": "alive counter wrong",
    "83": "protection value wrong",
    "86": "signal invalid",
    "87": "message missing",
    "88": "bus off",
    "92": "wrong operation",
    "93": "no operation",
    "96": "component internal failure",
    "97": "blocked",
    "98": "component too hot",
}

FAILURE_MODES: dict[int, str] = {
    0: "above normal, most severe",
    1: "below normal, most severe",
    2: "erratic or incorrect data",
    3: "voltage above normal or shorted high",
    4: "voltage below normal or shorted low",
    5: "current below normal or open circuit",
    6: "current above normal or grounded",
    7: "mechanical system does not respond",
    8: "abnormal frequency, pulse width or period",
    9: "abnormal update rate",
    10: "abnormal rate of change",
    11: "cause not known",
    12: "bad device or component",
    13: "out of calibration",
    14: "special instructions",
    15: "above normal, least severe",
    16: "above normal, moderately severe",
    17: "below normal, least severe",
    18: "below normal, moderately severe",
    19: "data from the network in error",
    20: "drifted high",
    21: "drifted low",
    31: "condition exists",
}
MOST_SEVERE_MODES = frozenset({0, 1})


@dataclass(frozen=True, slots=True)
class Meaning:
    """What is known of a code: a short text, how grave it is by itself, and where to look."""

    text: str
    severity: str
    action: str


def is_standard(code: str) -> bool:
    """Whether a five-character code means the same in every make: P0, P2, P34-P39, C0, B0, U0 and U3 (SAE J2012)."""
    system, digit, third = code[0], code[1], code[2]
    if system == "P":
        return digit in "02" or (digit == "3" and third in "456789")
    return digit == "0" or (system == "U" and digit == "3")


def of_j2012(code: str, own: str = "") -> Meaning:
    """The meaning of an OBD-II code (`P0301`) or a UDS code with its failure type (`P0301-00`); `own` is the operator's text for it."""
    base, _, failure = code.partition("-")
    system = SYSTEMS.get(base[:1])
    if system is None or len(base) != 5:
        return Meaning("unknown code", WARNING, "Look the code up in the service manual.")
    if own:
        text, action = own, ACTIONS[base[0]]
    elif not is_standard(base):
        text = f"{system} code of the maker"
        action = "Look the code up in the service manual of the vehicle's maker; it means something else in each make."
    else:
        area = f": {POWERTRAIN_AREAS[base[2]]}" if system == "powertrain" and base[2] in POWERTRAIN_AREAS else ""
        text = TEXTS.get(base, f"{system} code{area}")
        action = ACTIONS[base[0]]
    if failure and failure != "00" and failure in FAILURE_TYPES:
        text += f", {FAILURE_TYPES[failure]}"
    return Meaning(text, SEVERE.get(base, WARNING), action)


def of_j1939(spn: int, fmi: int, own: str = "") -> Meaning:
    """The meaning of a suspect parameter number with its failure mode; `own` is the operator's name of the parameter."""
    severity = ERROR if fmi in MOST_SEVERE_MODES else WARNING
    mode = FAILURE_MODES.get(fmi, "reserved failure mode")
    if own:
        return Meaning(f"{own}: {mode}", severity, "Check the component that the parameter is measured at, its plug and its wiring.")
    return Meaning(f"parameter {spn}: {mode}", severity, "Look the parameter number up in the maker's list, then check that component.")


ACTIONS = {
    "P": "Read the freeze frame with a tester, look at the signals when it first came, then check the named component and its wiring.",
    "C": "Check the named sensor or actuator, its plug and its wiring; compare it with its siblings in the plot.",
    "B": "Check the named component, its plug and its wiring.",
    "U": "Check supply, ground and bus wiring of the control unit that is missing; look for gaps in its messages.",
}
