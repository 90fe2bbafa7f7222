"""What a run leaves for a person: measurements, pictures, tables, the run card."""
