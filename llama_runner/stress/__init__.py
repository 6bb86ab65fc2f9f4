"""Load on a model server, measured: plans, worker processes, statistics, reports. Knows no window."""
