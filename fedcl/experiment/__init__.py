"""One experiment from configuration to results; the package `fedcl` itself is its public face."""
