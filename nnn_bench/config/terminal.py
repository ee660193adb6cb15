"""What the command line and the pipeline that calls it agree on: exit codes, and how a line for the user begins."""

EXIT_BAD_INPUT = 2
EXIT_BUSY = 75  # sysexits EX_TEMPFAIL: someone else holds the run, try again later
EXIT_TERMINATED = 143  # 128 + SIGTERM, after a checkpoint was written

ERROR_PREFIX = "nnn-bench: error: "
WARNING_PREFIX = "nnn-bench: warning: "
