"""Studies: methods x seeds from one description, their runs, and the table that they give."""
