"""The search page: a small web server of this machine alone, over the functions that ``search`` itself uses."""
