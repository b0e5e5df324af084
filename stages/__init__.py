"""One short module a stage, and the command line: reads parameters, calls ``pipeline``, writes artifacts."""
