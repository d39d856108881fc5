"""Templates of pictures, filled in by :mod:`patchgen.live.svg`."""
