"""One module per rule: `RULE` (its name), `VERSION` (of its thresholds), `TITLE` (what it looks for) and `find(evidence)`."""
