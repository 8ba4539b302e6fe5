"""ECMWF Integrated Forecasting System, the ensemble."""
