"""`python -m fedcl` is the command `fedcl`.

Python puts the current folder first on the module path; it is taken off before anything else is
imported, so that a file of the user's there (`random.py`, `types.py`) is never taken for Python's.
"""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]

from fedcl.cli.main import main

if __name__ == "__main__":
    main()
