"""DWD ICON-EU, the European nest of the global ICON model."""
