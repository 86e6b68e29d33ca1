"""Programs that make the map of files and the documentation site, and test packages."""
