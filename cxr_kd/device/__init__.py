"""On the device: the latency of networks (`latency`) and the table of their cost (`cost_table`)."""
