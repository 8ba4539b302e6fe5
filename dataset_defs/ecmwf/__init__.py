"""ECMWF, the European Centre for Medium-Range Weather Forecasts: its open data."""
