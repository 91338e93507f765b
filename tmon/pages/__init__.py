"""What the pages are made of; plugins/pages.py makes them known to Datasette."""
