"""Pictures of CarRacing by exact area coverage, drawn straight at their own size."""
