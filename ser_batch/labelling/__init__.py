"""Labels that people give to segments of a centre's own calls."""
