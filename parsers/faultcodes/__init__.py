"""Fault codes that the vehicle itself reports on its buses: OBD-II and UDS over ISO-TP, J1939 diagnostic messages."""
