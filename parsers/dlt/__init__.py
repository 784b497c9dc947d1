"""AUTOSAR DLT: log and trace messages of ECUs, as dlt-daemon and DLT viewers store them or as they come from the wire."""
