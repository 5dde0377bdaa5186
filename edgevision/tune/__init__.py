"""Search for the fastest schedule of each workload of a network, measured on the machine that it is for."""
