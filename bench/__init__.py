"""How fast Tertulia is: `python -m bench`.  See README.md for what each number means."""
