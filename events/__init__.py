"""Events: what happened, in order per batch; domain events, audit trail and outbox in one table."""
