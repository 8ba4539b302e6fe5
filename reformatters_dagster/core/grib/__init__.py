"""GRIB2 messages: sections, packing, identity, grids."""
