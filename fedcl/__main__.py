"""`python -m fedcl` is the command `fedcl`."""

from fedcl.cli.main import main

if __name__ == "__main__":
    main()
