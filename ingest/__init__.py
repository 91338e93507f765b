"""The app that takes readings in by HTTP."""
