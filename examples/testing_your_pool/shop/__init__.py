"""A shop whose orders are paid in a worker process."""
