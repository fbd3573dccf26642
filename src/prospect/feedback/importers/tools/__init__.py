"""One file for each format of export; a file here that registers an importer is found by itself."""
