"""`python -m xdplb` is `xdplb`."""

from xdplb.cli.main import main

if __name__ == "__main__":
    main()
