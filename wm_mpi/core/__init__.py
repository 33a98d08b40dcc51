"""What every room needs: options, command line, errors, progress, seeds, the files of a run, the launcher."""
