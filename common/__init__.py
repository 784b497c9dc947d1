"""What every app may use: stage names and the doorbell, errors, database time, checks. Owns no table, imports no app."""
