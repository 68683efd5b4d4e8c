"""One driver each behind a port: storage, bus, mail, SMS, identity, clock."""
