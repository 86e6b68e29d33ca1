"""Programs that make the map of files and the site, and test packages."""
