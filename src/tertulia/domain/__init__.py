"""What is true of conversations, people and messages: pure decisions, no I/O and no clock."""
