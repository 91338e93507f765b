"""The watching process, and the care of what is kept."""
