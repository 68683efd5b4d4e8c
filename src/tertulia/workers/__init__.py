"""What follows a commit: relays, schedules, expiry and retention."""
