"""Programs that make documents: the map of files, and the pages of the documentation site."""
