"""Studies: methods times seeds, each step done by the stage that is there for it."""
