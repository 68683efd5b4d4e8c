"""The operator's own way in: a Unix socket in the data folder, for the commands of the same machine."""
