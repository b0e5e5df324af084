"""``python -m stages`` is ``ccaf-pipeline``, for a working directory that is not installed, such as a job's on Ray."""

from stages.cli import main

if __name__ == "__main__":
    main()
