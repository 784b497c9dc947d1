"""Text logs: plain lines, syslog, logcat, console output, JSON lines."""
