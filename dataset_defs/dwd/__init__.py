"""DWD, the German weather service: ICON-EU."""
