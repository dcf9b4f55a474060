"""How long steps run: in shards, whose results are kept so that a killed run continues after the last one."""
