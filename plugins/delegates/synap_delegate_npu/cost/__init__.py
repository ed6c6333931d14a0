"""Cost model of the neural processing units: seconds, cycles and bytes of an operation, from its shape alone."""
