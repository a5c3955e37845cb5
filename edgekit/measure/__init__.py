"""How fast, on which machine: Sessions -> latencies and ratios with intervals; this host -> facts."""
