"""How shards are made: the plan, the sources, the workers on Ray, the writer, the folder that is committed to."""
