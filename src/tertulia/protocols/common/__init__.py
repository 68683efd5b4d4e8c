"""What several protocols share: the shape of events outside the program."""
