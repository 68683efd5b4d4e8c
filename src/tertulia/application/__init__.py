"""The use cases: they ask the domain to decide and the ports to act."""
