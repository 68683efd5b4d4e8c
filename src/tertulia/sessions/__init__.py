"""Live connections: bounded outboxes, rooms, fan-out and resume."""
