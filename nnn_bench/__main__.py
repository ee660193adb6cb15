"""`python -m nnn_bench` is the same as `nnn-bench`."""

from nnn_bench.cli import main

if __name__ == "__main__":
    main()
